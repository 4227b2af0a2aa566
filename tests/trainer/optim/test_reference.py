"""The reference policy: equal to a second copy bit for bit, and the policy is as it was afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from tests.helpers.made_up import build_batch, flat_parameters, make_group, tiny_nano
from tests.helpers.runs import latest
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_trainer.config import UpdateConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.objectives import Tgrpo
from tgrpo_trainer.optim.reference import Reference, SwappedReference, first_weights, score_batch
from tgrpo_trainer.optim.update import PolicyUpdater
from tgrpo_trainer.policy.nano.policy import NanoPolicy
from tgrpo_trainer.run.checkpoint import load_checkpoint
from tgrpo_trainer.train import train
from tgrpo_trainer.types import Batch

REWARDS = [[0.0, 0.5, 1.0], [0.25, 0.0], [1.0, 1.0, 0.5, 0.0]]


class Copied:
    """A whole second policy."""

    def __init__(self, policy: NanoPolicy) -> None:
        self.policy = copy.deepcopy(policy).eval()

    def log_probs(self, batch: Batch) -> Tensor:
        return score_batch(self.policy, batch, 1.0, 4)


def batch_of(policy: NanoPolicy, seed: int = 0) -> Batch:
    batch, _ = build_batch([make_group(policy, REWARDS, seed=seed)], Tgrpo())
    assert batch is not None
    return batch


def swapped(policy: NanoPolicy) -> SwappedReference:
    return SwappedReference(ShardedPolicy(policy, World()), first_weights(policy), temperature=1.0, microbatch_size=4)


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_master"])
def test_updates_are_those_with_a_second_copy(optimizer: Literal["adamw", "adamw_master"]) -> None:
    references: tuple[Callable[[NanoPolicy], Reference], ...] = (swapped, Copied)
    results = []
    for make in references:
        policy = tiny_nano()
        updater = PolicyUpdater(
            policy,
            make(policy),
            objective=Tgrpo(beta=0.5),
            optimiser=UpdateConfig(warmup_iterations=0, minibatch_size=4, learning_rate=1e-2, optimizer=optimizer),
            temperature=1.0,
            total_iterations=3,
        )
        metrics = [updater.update(batch_of(policy, i), i, torch.Generator().manual_seed(i)) for i in range(3)]
        results.append((flat_parameters(policy).clone(), metrics))
    assert torch.equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]
    assert results[0][1][-1]["kl"] > 0


def test_the_policy_is_as_it_was_also_after_an_error() -> None:
    policy, other = tiny_nano(), tiny_nano(seed=1)
    reference = SwappedReference(
        ShardedPolicy(policy, World()), first_weights(policy, other), temperature=1.0, microbatch_size=4
    )
    batch, before = batch_of(policy), flat_parameters(policy).clone()
    policy.train()
    for _ in range(2):
        assert torch.equal(reference.log_probs(batch), score_batch(other, batch, 1.0, 4))
        assert torch.equal(flat_parameters(policy), before) and policy.training
    policy.trunk[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reference.log_probs(batch)
    assert torch.equal(flat_parameters(policy), before) and policy.training


def test_it_does_not_follow_the_policy() -> None:
    policy = tiny_nano()
    reference, batch = swapped(policy), batch_of(policy)
    before = reference.log_probs(batch)
    with torch.no_grad():
        policy.head.weight.add_(0.1)
    assert torch.equal(reference.log_probs(batch), before)
    assert not torch.equal(score_batch(policy, batch, 1.0, 4), before)


def test_other_names_than_are_trained_are_refused() -> None:
    policy = tiny_nano()
    reference, batch = swapped(policy), batch_of(policy)
    policy.words.requires_grad_(requires_grad=False)
    with pytest.raises(ValueError, match=r"words\.weight"):
        reference.log_probs(batch)


def test_after_resuming_it_is_still_the_policy_before_the_first_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)
    for name, parts in (("whole", [4]), ("parts", [2, 4])):
        for iterations in parts:
            config = toy_config(tmp_path / name, iterations=iterations)
            strong = {**config.objective.model_dump(), "beta": 2.0}
            rollout = {**config.rollout.model_dump(), "filter": "all"}
            schedule = {**config.update.model_dump(), "warmup_iterations": 0, "final_learning_rate_ratio": 1.0}
            train(config.replace(objective=strong, rollout=rollout, update=schedule))
    ours, theirs = (load_checkpoint(latest(tmp_path / name / "last")).policy for name in ("whole", "parts"))
    assert isinstance(ours, NanoPolicy) and isinstance(theirs, NanoPolicy)
    assert torch.equal(flat_parameters(ours), flat_parameters(theirs))
