"""Memory by arithmetic: beside real sums, beside what autograd really keeps, by hand; the sentence on what fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn

from tests.helpers.tiny_oft import tiny_oft
from tests.helpers.tiny_openvla import (
    FULL,
    NUM_PARAMETERS_7B,
    ONE_SIGLIP,
    TINY,
    Sizes,
    openvla_input,
    published_shapes,
    tiny_config,
    tiny_openvla,
    write_checkpoint,
)
from tgrpo_envs.errors import TrainingError
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.config import TrainConfig, UpdateConfig
from tgrpo_trainer.memory.check import advice, out_of_memory_explained
from tgrpo_trainer.memory.forecast import GB, Plan, estimate, largest_microbatch, optimizer_bytes
from tgrpo_trainer.optim.optimizer import make_optimizer
from tgrpo_trainer.policy.footprint import Bytes, Footprint
from tgrpo_trainer.policy.lora import LoraSettings
from tgrpo_trainer.policy.openvla.activations import saved_bytes, trace
from tgrpo_trainer.policy.openvla.architecture import OPENVLA_7B, read_architecture
from tgrpo_trainer.policy.openvla.base import BaseCheckpoint
from tgrpo_trainer.policy.openvla.footprint import measure_footprint
from tgrpo_trainer.recipes import openvla_libero, quickstart


def footprint(**changes: Any) -> Footprint:
    """Made up: 10 GB of bfloat16 weights, all trained; 1 GB a row, 0.1 GB with checkpointing; 0.2 GB of cache."""
    own = Footprint(10 * GB, 5 * GB, 2, Bytes(0, GB), Bytes(0, GB // 10), GB // 5)
    return dataclasses.replace(own, **changes)


def test_the_published_sizes_are_those_of_the_published_tensors() -> None:
    assert read_architecture(tiny_config(FULL), published_shapes(FULL)) == OPENVLA_7B


def test_weights_and_trained_numbers_at_full_size() -> None:
    full = measure_footprint(OPENVLA_7B, torch.bfloat16, None)
    assert full.weights == 2 * NUM_PARAMETERS_7B
    never_run = (".featurizer.blocks.23.", "fused_featurizer.blocks.26.", "attn_pool", "featurizer.norm.")
    frozen = sum(
        torch.Size(shape).numel()
        for name, shape in published_shapes(FULL).items()
        if any(one in name for one in never_run)
    )
    assert full.num_trained == NUM_PARAMETERS_7B - frozen
    # Keys and values: 2 * 32 layers * (256 patches + 32 words + 6 actions) * 4096 numbers * 2 bytes.
    assert full.cache_row == 2 * 32 * 294 * 4096 * 2


@pytest.mark.parametrize("rank", [None, 4])
@pytest.mark.parametrize("sizes", [TINY, ONE_SIGLIP], ids=["two towers", "one"])
def test_activations_are_what_autograd_keeps_of_a_real_pass(tmp_path: Path, rank: int | None, sizes: Sizes) -> None:
    policy = tiny_openvla(tmp_path, sizes)
    if rank is not None:
        policy.adapt(LoraSettings(rank), BaseCheckpoint.of(str(tmp_path), None), seed=0)
    num_rows = 5
    obs = openvla_input(policy, ["pick up the bowl"] * num_rows)
    with saved_bytes(policy.model, []) as counted:
        policy.log_prob(obs, torch.zeros(num_rows, 7, dtype=torch.int64))
    plain, checkpointed = trace(policy.model.to("meta"), prompt_length=obs.instruction_NL.shape[1])
    # All but masks and positions, a few numbers a place that the real pass makes once for all rows.
    assert plain.of(num_rows) == pytest.approx(counted.whole, rel=0.02)
    assert checkpointed.per_row < plain.per_row


def test_the_counter_by_hand() -> None:
    layers: list[nn.Module] = [
        nn.Sequential(nn.Linear(4, 6, bias=False), nn.GELU(), nn.Linear(6, 4, bias=False)) for _ in range(2)
    ]
    model = nn.Sequential(*layers)
    inputs = torch.ones(3, 4)
    with saved_bytes(model, layers) as counted:
        kept = model(inputs).square()  # which keeps its input
    # Each layer: its input (48 bytes), before and after GELU (72 each); then the last layer's output.
    assert counted.whole == 2 * (48 + 72 + 72) + 48
    # Both inputs and the last output; one layer's inside.
    assert counted.checkpointed == 48 + 48 + 48 + (72 + 72)
    assert kept.shape == (3, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", ["adamw", "adamw_master", "adamw_stochastic"])
def test_optimiser_bytes_are_those_of_a_real_state(
    kind: Literal["adamw", "adamw_master", "adamw_stochastic"], dtype: torch.dtype
) -> None:
    if kind == "adamw_stochastic" and dtype == torch.float32:
        return
    model = nn.Linear(20, 30, bias=False, dtype=dtype)
    optimizer = make_optimizer(model, UpdateConfig(optimizer=kind))
    model.weight.grad = torch.ones_like(model.weight)
    optimizer.step()
    state = sum(value.nbytes for key, value in optimizer.state[model.weight].items() if key != "step")
    assert optimizer_bytes(kind, dtype.itemsize) * model.weight.numel() == state


def test_the_cache_is_as_large_as_the_arithmetic_says(tmp_path: Path) -> None:
    policy = tiny_openvla(tmp_path).eval()  # learning gives the cache's memory back
    obs = openvla_input(policy, ["pick up the bowl"] * 3)
    policy.sample(obs)
    cache = policy.decoder._cache
    assert cache is not None
    real = sum(part.nbytes for part in (*cache._keys, *cache._values) if part is not None)
    places = cache.capacity
    expected = measure_footprint(policy.model.architecture, torch.float32, None).cache_row
    assert real == 3 * expected * places // (4 + 32 + 6)


def test_the_estimate_by_hand() -> None:
    need = estimate(footprint(), Plan("adamw_master", gradient_checkpointing=False, microbatch_size=4, num_envs=10))
    assert (need.weights, need.gradients, need.optimizer) == (10 * GB, 10 * GB, 60 * GB)
    assert (need.activations, need.rollout, need.total) == (4 * GB, 2 * GB, 84 * GB)
    shared = Plan("adamw_stochastic", gradient_checkpointing=True, microbatch_size=4, num_envs=10, num_gpus=4)
    need = estimate(footprint(), shared)
    assert (need.weights, need.gradients, need.optimizer) == (2.5 * GB, 2.5 * GB, 5 * GB)
    assert need.total == 22 * GB  # a rollout's gathered weights (10) and cache (2) are more than 0.4 GB of activations
    assert largest_microbatch(footprint(), shared, 22 * GB) == 120
    assert largest_microbatch(footprint(), shared, 22 * GB - 1) == 0
    frozen = estimate(footprint(num_trained=GB // 10), Plan("adamw_master", gradient_checkpointing=True))
    assert (frozen.gradients, frozen.optimizer) == (GB // 5, 1.2 * GB)


def test_what_would_fit_is_said_in_one_sentence() -> None:
    own, lora = footprint(), footprint(num_trained=GB // 10)
    plan = Plan("adamw_master", gradient_checkpointing=False, microbatch_size=16)
    assert advice(own, lora, plan, 200 * GB, "openvla") is None
    assert advice(own, lora, plan, 100 * GB, "openvla") == (
        "this training needs about 96 GB of GPU memory (weights 10, gradients 10, optimiser 60, activations 16, "
        "a rollout 2), and of 100 GB about 90 can be used; what would fit: --update.microbatch-size 1 and at "
        "most 8 environments; or --policy.openvla.gradient-checkpointing and --update.microbatch-size 1 and at most 8 "
        "environments; or --update.optimizer adamw_stochastic with micro-batches of 1 and gradient checkpointing; or "
        "--policy.lora.rank 32 with micro-batches of 1 and gradient checkpointing; or 2 such GPUs with "
        "micro-batches of 1 and gradient checkpointing."
    )
    # 24 GB: LoRA takes 10 + 0.2 + 1.2 + 1.6 (the cache) = 13, four GPUs 20 + 11.6, eight 10 + 11.6; 21.6 can be used.
    said = advice(own, lora, plan, 24 * GB, "openvla")
    assert said is not None and "fit: --policy.lora.rank 32" in said and "; or 8 such GPUs" in said
    assert "stochastic" not in said and "2 such GPUs" not in said and "4 such GPUs" not in said
    said = advice(own, lora, plan, 5 * GB, "openvla")
    assert said is not None and "nothing smaller would fit" in said
    said = advice(lora, lora, dataclasses.replace(plan, microbatch_size=64), 48 * GB, "openvla")
    assert said is not None and "--update.microbatch-size 1" in said
    assert "lora.rank" not in said and "stochastic" not in said


@pytest.mark.parametrize(("recipe", "said"), [(openvla_libero, "lora.rank 32"), (quickstart, "num-generations")])
@pytest.mark.parametrize("num_finished", [0, 1])
def test_an_error_of_the_gpu_becomes_one_that_says_what_to_do(
    recipe: Callable[[], TrainConfig], said: str, num_finished: int, tmp_path: Path
) -> None:
    config = recipe()
    config = config.replace(run={**config.run.model_dump(), "folder": tmp_path})
    for iteration in range(num_finished):
        (config.run.path / "last" / f"iteration_{iteration:06d}").mkdir(parents=True)
    with pytest.raises(TrainingError, match=said) as caught, out_of_memory_explained(config):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmany more lines")
    message = str(caught.value)
    assert "Tried to allocate 2.00 GiB" in message and "\n" not in message
    assert message.count(f"--resume {config.run.path} goes on") == num_finished
    assert message.count("before anything was finished; start the run again") == 1 - num_finished


def test_the_command_prints_the_table_of_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path)
    assert main(["memory", "--checkpoint", str(tmp_path), "--rank", "4", "--num-gpus", "1", "2"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")] == [
        "training",
        *["full, `adamw_master`"] * 2,
        *["full, `adamw_stochastic`"] * 2,
        "LoRA 4, all-linear, `adamw_master`",
        "LoRA 4, language-model, `adamw_master`",
    ]
    assert main(["memory", "--checkpoint", str(tmp_path), "--rank", "0"]) == 2
    assert "rank 0" in capsys.readouterr().err


def test_an_l1_heads_activations_are_what_autograd_keeps_of_a_real_pass(tmp_path: Path) -> None:
    """Two pictures, the state, 57 places of a chunk and the head; nothing is cached in a rollout."""
    policy = tiny_oft(tmp_path)
    num_rows = 5
    obs = openvla_input(policy, ["pick up the bowl"] * num_rows)
    with saved_bytes(policy.model, []) as counted:
        policy.log_prob(obs, torch.zeros(num_rows, 56))
    architecture = policy.model.architecture
    plain, checkpointed = trace(policy.model.to("meta"), prompt_length=obs.instruction_NL.shape[1])
    assert plain.of(num_rows) == pytest.approx(counted.whole, rel=0.02)
    assert checkpointed.per_row < plain.per_row
    # Gate, up and their product in the MLP of one layer: (2 * 4 patches + state + 32 words + 56 + end) * 48 numbers.
    assert measure_footprint(architecture, torch.float32, None).cache_row == 3 * 98 * 48 * 4
