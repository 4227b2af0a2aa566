"""The one-file loop of examples/ is the trainer's algorithm: the same episodes, the same weights but for rounding."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.helpers.toy_env import ToyReach
from tests.helpers.toy_run import make_toy_envs
from tgrpo_trainer.config import EnvConfig, RolloutConfig, RunConfig, SftConfig, TrainConfig, UpdateConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.metrics.metrics import Mean
from tgrpo_trainer.objectives import Tgrpo
from tgrpo_trainer.optim.reference import make_reference
from tgrpo_trainer.optim.update import PolicyUpdater
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.rollout.tasks import TaskEnvs
from tgrpo_trainer.run.rng import Stream, derive_seeds, make_generator, make_generators
from tgrpo_trainer.train_step import run_iteration

FILE = Path(__file__).parents[2] / "examples" / "07_tgrpo_in_one_file.py"
CONFIG = TrainConfig(
    env=EnvConfig(image_size=16, action_chunk=2, horizon=24),
    sft=SftConfig(max_steps=0),
    rollout=RolloutConfig(num_groups=3, num_generations=4),
    objective=Tgrpo(std_floor=0.1),
    update=UpdateConfig(minibatch_size=32, warmup_iterations=0, final_learning_rate_ratio=1.0),
    run=RunConfig(seed=3, iterations=2),
)


@pytest.fixture
def one_file(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("one_file", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "MINIBATCH", CONFIG.update.minibatch_size)
    return module


def decisive_nano(**tokens: Any) -> NanoPolicy:
    """A random policy hardly moves: make it decisive, so that members of a group differ."""
    torch.manual_seed(7)
    policy = NanoPolicy(NanoConfig(image_size=16, action_chunk=2, **tokens))
    with torch.no_grad():
        policy.head.weight.mul_(30)
    return policy


def envs() -> ToyReach:
    return make_toy_envs(CONFIG.env, CONFIG.rollout.num_envs)


@pytest.mark.parametrize(
    "tokens", [{}, {"steps_per_token": 2, "bin_power": 1.5}], ids=["a step a token", "as the quickstart's"]
)
def test_two_iterations_give_the_weights_and_successes_of_the_trainer(
    one_file: ModuleType, tokens: dict[str, Any]
) -> None:
    first = decisive_nano(**tokens)
    ours, theirs = copy.deepcopy(first), copy.deepcopy(first)
    optimizer = torch.optim.AdamW(ours.parameters(), lr=one_file.LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    world = World(device=torch.device("cpu"))
    student = ShardedPolicy(theirs, world)
    updater = PolicyUpdater(
        theirs,
        make_reference(CONFIG, student, lambda: None),
        objective=CONFIG.objective,
        optimiser=CONFIG.update,
        temperature=1.0,
        total_iterations=CONFIG.run.iterations,
        world=world,
    )
    seed, count = CONFIG.run.seed, CONFIG.rollout.num_envs
    tasks = TaskEnvs(CONFIG.env, count, CONFIG.rollout.num_generations, make_toy_envs)
    for iteration in range(2):
        success_N = one_file.iterate(
            ours,
            first,
            optimizer,
            envs(),
            CONFIG.rollout.num_generations,
            seeds=derive_seeds(seed, Stream.STATES, iteration, count=count),
            generators=make_generators(seed, Stream.ACTIONS, iteration, count=count),
            shuffler=make_generator(seed, Stream.SHUFFLE, iteration),
        )
        done = run_iteration(CONFIG, tasks, student, updater, iteration, world)
        success, steps = done.metrics["rollout/success_rate"], done.metrics["update/optimiser_steps"]
        assert isinstance(success, Mean) and success_N.mean() == success.value
        assert isinstance(steps, float) and steps > CONFIG.update.num_iterations  # several minibatches a pass
        moved = torch.cat([(a - b).flatten() for a, b in zip(ours.parameters(), first.parameters(), strict=True)])
        assert moved.abs().max() > 1e-4
        for mine, trainers in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine, trainers, rtol=0, atol=2e-6)  # a hundredth of a step: rounding
