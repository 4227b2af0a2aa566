"""LoRA knows no family: nano trains adapters too, with the base as the reference, and goes on from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.made_up import IMAGE_SIZE, random_input, tiny_nano
from tests.helpers.runs import assert_same_run, last_checkpoint
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.optim.optimizer import trained_parameters
from tgrpo_trainer.optim.reference import OwnReference, make_reference
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.lora import LoraSettings
from tgrpo_trainer.policy.nano.policy import NanoPolicy
from tgrpo_trainer.policy.settings import LoraConfig, PolicyConfig
from tgrpo_trainer.train import train

CHOICES_NK = torch.arange(21).view(3, 7) % 5


def scores(policy: Policy) -> Tensor:
    return policy.log_prob(random_input(3), CHOICES_NK).logp_NK


def learnt(seed: int = 0) -> NanoPolicy:
    """A nano with adapters that have learnt something."""
    policy = tiny_nano(seed)
    policy.adapt(LoraSettings(rank=2), seed=1)
    with torch.no_grad():
        for name, value in trained_parameters(policy).items():
            if "lora_B" in name:
                value.normal_(0.0, 0.003, generator=torch.Generator().manual_seed(2))
    return policy


def test_adapters_are_all_that_learns_and_change_nothing_at_first() -> None:
    policy = tiny_nano()
    before = scores(policy)
    policy.adapt(LoraSettings(rank=2), seed=1)
    assert all("lora_" in name for name in trained_parameters(policy)) and trained_parameters(policy)
    assert torch.equal(scores(policy), before)
    with pytest.raises(ConfigError, match=r"language-model, which nano does not have"):
        tiny_nano().adapt(LoraSettings(targets="language-model"), seed=0)


def test_reference_merge_and_files(tmp_path: Path) -> None:
    base, policy = tiny_nano(), learnt()
    assert base.reference() is None and not torch.equal(scores(policy), scores(base))
    reference = policy.reference()
    assert reference is not None
    with reference:
        assert torch.equal(scores(policy), scores(base))
    policy.save(tmp_path)
    loaded = load_policy(tmp_path)
    assert loaded.adapters == policy.adapters and torch.equal(scores(loaded), scores(policy))
    loaded.merge()
    assert loaded.adapters is None and loaded.state_dict().keys() == base.state_dict().keys()
    torch.testing.assert_close(scores(loaded), scores(policy), rtol=0, atol=1e-5)


def lora_run(folder: Path, iterations: int, checkpoint: Path) -> TrainConfig:
    config = toy_config(folder, iterations)
    return config.replace(
        policy=PolicyConfig(checkpoint=str(checkpoint), lora=LoraConfig(rank=2)),
        env={**config.env.model_dump(), "image_size": IMAGE_SIZE, "action_chunk": 1},
        rollout={**config.rollout.model_dump(), "filter": "all"},
        objective={**config.objective.model_dump(), "beta": 0.5},
        update={**config.update.model_dump(), "warmup_iterations": 0, "final_learning_rate_ratio": 1.0},
    )


@pytest.mark.slow  # three runs; without adapters it is in tests/trainer/run/test_resume.py
def test_a_run_trains_them_and_four_iterations_are_two_and_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)
    start = tmp_path / "start"
    start.mkdir()
    learnt().save(start)  # adapters of a run become part of the weights of the next
    merged = load_policy(start)
    merged.merge()
    for name, lengths in (("whole", [4]), ("parts", [2, 4])):
        for iterations in lengths:
            train(lora_run(tmp_path / name, iterations, start))
    last = last_checkpoint(tmp_path / "whole").policy
    assert not torch.equal(scores(last), scores(merged))
    reference = last.reference()
    assert reference is not None
    with reference:
        assert torch.equal(scores(last), scores(merged))
    student = ShardedPolicy(last, World())
    assert isinstance(make_reference(lora_run(tmp_path / "whole", 4, start), student, lambda: None), OwnReference)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
