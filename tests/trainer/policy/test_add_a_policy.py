"""Adding a policy touches its own file and one line: a toy one goes through whole runs of the unchanged trainer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.helpers.runs import assert_same_run, evaluated, finite
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.bc.behaviour_cloning import train_sft
from tgrpo_trainer.bc.dataset import DemoDataset
from tgrpo_trainer.config import SftConfig, TrainConfig
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.policy import POLICIES, load_policy
from tgrpo_trainer.policy.base import Policy, PolicyStart
from tgrpo_trainer.policy.randomness import Randomness
from tgrpo_trainer.policy.settings import PolicyConfig
from tgrpo_trainer.policy.tokens import choose, score
from tgrpo_trainer.train import train
from tgrpo_trainer.types import ACTION_DIM, ActionSample, CloningTerms, LogProbs, PolicyInput

NUM_HEADINGS = 8


class CompassPolicy(Policy):
    """One choice a decision: the compass direction of the whole chunk, from the position alone."""

    def __init__(self, image_size: int, action_chunk: int) -> None:
        super().__init__()
        self.sides = (image_size, action_chunk)
        self.logits = nn.Linear(2, NUM_HEADINGS)
        angles = torch.arange(NUM_HEADINGS) * 2 * math.pi / NUM_HEADINGS
        self.register_buffer("headings_V2", torch.stack([angles.cos(), angles.sin()], dim=1), persistent=False)
        self.headings_V2: Tensor

    @classmethod
    def start(cls, start: PolicyStart) -> CompassPolicy:
        assert start.settings is None
        with torch.random.fork_rng():
            torch.manual_seed(start.weights_seed)
            return cls(start.image_size, start.action_chunk)

    @classmethod
    def load(cls, folder: Path) -> Self:
        policy = cls(*json.loads((folder / "config.json").read_text())["sides"])
        policy.load_state_dict(load_file(folder / "weights.safetensors"))
        return policy

    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        (folder / "config.json").write_text(json.dumps({"kind": "compass", "sides": self.sides}))
        save_file(self.state_dict() if state is None else dict(state), folder / "weights.safetensors")

    @property
    def image_size(self) -> int:
        return self.sides[0]

    @property
    def action_chunk(self) -> int:
        return self.sides[1]

    def encode_instructions(self, texts: Sequence[str]) -> Tensor:
        return torch.ones(len(texts), 1, dtype=torch.int64)

    def sample(
        self, obs: PolicyInput, *, temperature: float = 1.0, greedy: bool = False, generator: Randomness = None
    ) -> ActionSample:
        with torch.no_grad():
            logits_N1V = self.logits(obs.proprio_NP[:, None, :2])
            heading_N1, logp_N1 = choose(logits_N1V, temperature=temperature, greedy=greedy, generator=generator)
        actions_NCA = torch.zeros(len(obs), self.action_chunk, ACTION_DIM)
        actions_NCA[:, :, :2] = self.headings_V2[heading_N1]
        return ActionSample(heading_N1, logp_N1, actions_NCA)

    def counted(self, ran_NC: Tensor) -> Tensor:
        return ran_NC[:, :1]

    def log_prob(self, obs: PolicyInput, choices_NK: Tensor, temperature: float = 1.0) -> LogProbs:
        return score(self.logits(obs.proprio_NP[:, None, :2]), choices_NK, temperature)

    def bc_loss(self, obs: PolicyInput, actions_NCA: Tensor) -> CloningTerms:
        expert_N1 = (actions_NCA[:, :, :2].mean(1) @ self.headings_V2.T).argmax(1, keepdim=True)
        scored = self(obs, expert_N1)
        return CloningTerms(-scored.logp_NK, scored.greedy_NK)


@pytest.fixture
def compass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "compass", f"{__name__}:CompassPolicy")  # the one line
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)


def compass_run(folder: Path, iterations: int, **policy: Any) -> TrainConfig:
    config = toy_config(folder, iterations)
    return config.replace(
        policy=PolicyConfig(kind="compass", **policy),
        rollout={"num_groups": 4, "num_generations": 6},
        objective={"kind": "stage_return", "anchor": "clock", "trajectory_weight": 0.7, "beta": 0.01},
        update={**config.update.model_dump(), "learning_rate": 0.1, "num_iterations": 4, "warmup_iterations": 0},
        evaluation={"every": 6, "num_heldout": 16, "num_official": 4},
    )


def test_it_learns_and_is_reported(tmp_path: Path, compass: None) -> None:
    whole = tmp_path / "whole"
    report = train(compass_run(whole, 12))
    before, after = (evaluated(whole)[f"iteration_0000{i}.json"][0] for i in ("00", "12"))
    assert (before.mode, after.mode) == ("greedy", "greedy") and after.success_rate > before.success_rate + 0.3
    assert report.is_file()
    steps = [finite(row) for row in read_metrics(whole) if "update/kl" in row]
    assert abs(steps[0]["update/kl"]) < steps[-1]["update/kl"]  # away from the reference
    assert isinstance(load_policy(next((whole / "last").iterdir()) / "policy"), CompassPolicy)
    assert TrainConfig.load(whole / "config.json").policy.kind == "compass"


@pytest.mark.slow  # three runs; the same of other policies is in tests/trainer/run/test_resume.py
def test_stopped_half_way_it_ends_the_same(tmp_path: Path, compass: None) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    constant = {"final_learning_rate_ratio": 1.0}
    for folder, lengths in ((whole, [4]), (parts, [2, 4])):
        for iterations in lengths:
            config = compass_run(folder, iterations)
            config = config.replace(
                update={**config.update.model_dump(), **constant}, evaluation={"every": 2, "num_heldout": 4}
            )
            train(config)
    assert_same_run(parts, whole)


def test_it_clones_by_its_own_loss(compass: None) -> None:
    angle_M = torch.linspace(0, 2 * math.pi, 65)[:64]
    proprio_MP = torch.zeros(64, 12)
    proprio_MP[:, :2] = torch.stack([angle_M.cos(), angle_M.sin()], dim=1)
    actions_MCA = torch.zeros(64, 2, ACTION_DIM)
    actions_MCA[:, :, :2] = -proprio_MP[:, None, :2]
    pictures = torch.zeros(64, 16, 16, 3, dtype=torch.uint8)
    valid = torch.ones(64, 2, dtype=torch.bool)
    dataset = DemoDataset(
        pictures, pictures, proprio_MP, actions_MCA, valid, torch.zeros(64, dtype=torch.int64), ("reach",)
    )
    torch.manual_seed(0)
    policy = CompassPolicy(16, 2)
    config = SftConfig(max_steps=200, batch_size=64, learning_rate=0.3)
    measured = train_sft(policy, dataset, config=config, generator=torch.Generator().manual_seed(0))
    assert measured["accuracy"] > 0.9 and measured["loss"] < 0.5 < math.log(NUM_HEADINGS)


def test_adapters_that_it_does_not_have_are_refused(tmp_path: Path, compass: None) -> None:
    with pytest.raises(ConfigError, match=r"policy\.lora\.rank is 4, but a policy of kind compass has no LoRA"):
        train(compass_run(tmp_path / "run", 1, lora={"rank": 4}))
