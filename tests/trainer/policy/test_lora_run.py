"""Whole LoRA runs at tiny size: what a checkpoint holds, resuming, the reference by adapter switch, and export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.runs import finite
from tests.helpers.tiny_oft import write_oft
from tests.helpers.tiny_openvla import TINY, openvla_input, published_shapes, write_checkpoint
from tests.helpers.toy_run import tiny_openvla_run
from tests.trainer.policy.test_openvla_train import toy  # noqa: F401 - a fixture
from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.bc.initial_policy import start_policy
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.evaluation.source import policy_digest
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.optim.optimizer import trained_parameters
from tgrpo_trainer.optim.reference import OwnReference, SwappedReference, first_weights, make_reference
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.lora import LoraSettings
from tgrpo_trainer.policy.openvla.base import BaseCheckpoint
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings
from tgrpo_trainer.run.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from tgrpo_trainer.train import train
from tgrpo_trainer.types import Batch

pytestmark = pytest.mark.usefixtures("toy")
TIMES = ("time/", "memory/")


def lora_run(
    tmp_path: Path, name: str = "run", *, iterations: int = 2, optimizer: str = "adamw_master", **policy: Any
) -> TrainConfig:
    config = tiny_openvla_run(tmp_path, iterations=iterations, lora=4, **policy)
    return config.replace(
        objective={**config.objective.model_dump(), "beta": 0.5},
        rollout={**config.rollout.model_dump(), "filter": "all"},
        update={**config.update.model_dump(), "optimizer": optimizer, "final_learning_rate_ratio": 1.0},
        run={**config.run.model_dump(), "name": name},
    )


def last(folder: Path) -> Path:
    path = latest_checkpoint(folder / "last")
    assert path is not None
    return path


def rows(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in finite(row).items() if not k.startswith(TIMES)} for row in read_metrics(folder)]


def test_checkpoints_hold_adapters_and_resuming_is_exact(tmp_path: Path) -> None:
    for name, parts in (("whole", [2]), ("parts", [1, 2])):
        for iterations in parts:
            train(lora_run(tmp_path, name, iterations=iterations))
    policy = last(tmp_path / "whole") / "policy"
    names = {path.name for path in policy.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "tgrpo.json"}
    adapters = load_file(policy / "adapter_model.safetensors")
    other = load_file(last(tmp_path / "parts") / "policy" / "adapter_model.safetensors")
    assert all(torch.equal(other[name], value) for name, value in adapters.items())
    changed = [name for name, value in adapters.items() if "lora_B" in name and value.abs().max() > 0]
    assert len(changed) == len(adapters) // 2
    learnt = [[row for row in rows(tmp_path / name) if "update/kl" in row] for name in ("whole", "parts")]
    assert learnt[0] == learnt[1] and [row["iteration"] for row in learnt[0]] == [1, 2]
    assert abs(learnt[0][0]["update/kl"]) < 1e-6 < learnt[0][1]["update/kl"]


def test_the_switch_scores_as_a_copy_of_the_base_does(tmp_path: Path) -> None:
    config = lora_run(tmp_path)
    train(config)
    policy = load_checkpoint(last(tmp_path / "run")).policy
    assert isinstance(policy, OpenVlaPolicy)
    first = load_checkpoint(tmp_path / "run" / "checkpoints" / "iteration_000000").policy
    switch = make_reference(config, ShardedPolicy(policy, World()), lambda: first)
    assert isinstance(switch, OwnReference)
    swap = SwappedReference(
        ShardedPolicy(policy, World()), first_weights(policy, first), temperature=1.5, microbatch_size=8
    )
    # Cloning before reinforcement learning moves the adapters: then the base is not the reference any more.
    cloned = config.replace(sft={**config.sft.model_dump(), "max_steps": 1})
    assert isinstance(make_reference(cloned, ShardedPolicy(policy, World()), lambda: first), SwappedReference)

    batch = Batch(
        observations=openvla_input(policy, ["reach the middle"] * 5),
        choices_NK=torch.arange(35).view(5, 7),
        old_logp_NK=torch.zeros(5, 7),
        mask_NK=torch.ones(5, 7, dtype=torch.bool),
        advantages_N=torch.zeros(5),
        weights_N=torch.full((5,), 0.2, dtype=torch.float64),
    )
    assert torch.equal(switch.log_probs(batch), swap.log_probs(batch))
    obs, tokens_NK = batch.observations, batch.choices_NK
    assert torch.equal(switch.log_probs(batch), first.eval().log_prob(obs, tokens_NK, 1.5).logp_NK.detach())
    assert not torch.equal(switch.log_probs(batch), policy.log_prob(obs, tokens_NK, 1.5).logp_NK)


def test_export_merges_adapters_and_copies_full_policies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(lora_run(tmp_path, "lora", iterations=1))
    assert main(["export", str(tmp_path / "lora"), str(tmp_path / "out" / "merged")]) == 0
    merged, adapted = load_policy(tmp_path / "out" / "merged"), load_checkpoint(last(tmp_path / "lora")).policy
    assert isinstance(merged, OpenVlaPolicy)
    stored = load_file(tmp_path / "out" / "merged" / "model-00001-of-00001.safetensors")
    assert {name: tuple(value.shape) for name, value in stored.items()} == published_shapes(TINY)
    obs, tokens_NK = openvla_input(merged, ["reach the middle"] * 3), torch.arange(21).view(3, 7)
    scores = [policy.log_prob(obs, tokens_NK).logp_NK for policy in (merged, adapted)]
    torch.testing.assert_close(scores[0], scores[1], rtol=0, atol=1e-5)

    assert main(["export", str(tmp_path / "lora"), str(tmp_path / "out" / "merged")]) == 2
    assert "exists already" in capsys.readouterr().err

    # A run goes on from the merged policy, and does not start from adapters.
    again = start_policy(lora_run(tmp_path).replace(policy=policy_at(tmp_path / "out" / "merged")), tmp_path)
    assert isinstance(again, OpenVlaPolicy)
    assert all(torch.equal(value, stored[name]) for name, value in again.model.state_dict().items())
    with pytest.raises(CheckpointError, match=r"tgrpo_trainer export .*iteration_000001/policy OUT"):
        start_policy(lora_run(tmp_path).replace(policy=policy_at(last(tmp_path / "lora") / "policy")), tmp_path)

    train(tiny_openvla_run(tmp_path, iterations=0))
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "copy")]) == 0
    source = last(tmp_path / "run") / "policy"
    copied = {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()}
    assert json.loads(copied.pop("trained_on.json")) == {
        "suite": "libero_object",
        "tasks": [0],
        "assets": "auto",
        "horizon": 6,
        "detail": "fast",
    }
    assert {path.name: path.read_bytes() for path in source.iterdir()} == copied
    assert policy_digest(source) == policy_digest(tmp_path / "copy")


@pytest.mark.parametrize("where", ["in its run", "elsewhere"])
def test_the_adapters_folder_of_a_run_is_exported_as_its_checkpoint_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """Not as another program's: the noise of the run stays, and another base is refused."""
    published = write_oft(tmp_path / "published")
    policy = OpenVlaPolicy.load(
        published, OpenVlaSettings("libero_object", 16, 8, decoding="parallel", noise_scale=0.5)
    )
    policy.adapt(LoraSettings(rank=4), BaseCheckpoint.of(str(published), None), seed=0)
    if where == "in its run":
        tiny_openvla_run(tmp_path, lora=4).save(tmp_path / "run" / "config.json")
        folder = save_checkpoint(tmp_path / "run" / "last", iteration=1, policy=policy, state={}) / "policy"
    else:
        folder = tmp_path / "adapters"
        folder.mkdir()
        policy.save(folder)
    assert main(["export", str(folder), str(tmp_path / "out")]) == 0
    merged = load_policy(tmp_path / "out")
    assert isinstance(merged, OpenVlaPolicy) and merged.settings == policy.settings
    torch.testing.assert_close(merged.model.scale(), torch.full((7,), 0.5))
    assert (tmp_path / "out" / "trained_on.json").is_file() == (where == "in its run")

    weights = load_file(published / "model-00001-of-00002.safetensors")
    save_file({name: value + 0.5 for name, value in weights.items()}, published / "model-00001-of-00002.safetensors")
    assert main(["export", str(folder), str(tmp_path / "other")]) == 2
    assert "LoRA adapters of another checkpoint" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_a_whole_policy_is_not_exported_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(write_checkpoint(tmp_path / "published")), str(tmp_path / "out")]) == 2
    assert "published is a policy already, with nothing to export" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def policy_at(folder: Path) -> dict[str, Any]:
    return {"kind": "openvla", "checkpoint": folder}


def test_a_moved_base_is_named_when_resuming(tmp_path: Path) -> None:
    train(lora_run(tmp_path, iterations=1))
    shutil.move(tmp_path / "published", tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="their base cannot be had"):
        load_checkpoint(last(tmp_path / "run"))


def test_bfloat16_trains_by_stochastic_rounding(tmp_path: Path) -> None:
    config = lora_run(tmp_path, iterations=1, optimizer="adamw_stochastic", dtype="bfloat16")
    train(config)
    policy = load_checkpoint(last(tmp_path / "run")).policy
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.bfloat16}
    moved = [value for name, value in trained_parameters(policy).items() if "lora_B" in name]
    assert all(value.abs().max() > 0 for value in moved)
    pointer = json.loads((last(tmp_path / "run") / "policy" / "tgrpo.json").read_text())["base"]
    assert pointer["checkpoint"] == str((tmp_path / "published").resolve()) and pointer["dtype"] == "bfloat16"
