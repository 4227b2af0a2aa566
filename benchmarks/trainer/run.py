"""The benchmark's order: the machine's limits, then the chosen parts, then the report."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from benchmarks.table import Measurement, as_text, not_run, save_json
from benchmarks.trainer.decisions import ROOFLINE_GOAL, decision_of, decision_rows
from benchmarks.trainer.iteration import iteration_config, iteration_rows
from benchmarks.trainer.roofline import DATA_SHEETS, Roof
from benchmarks.trainer.subject import (
    DTYPES,
    checkpoint_policy,
    get_size,
    num_parameters,
    random_input,
    random_policy,
    refuse_too_large,
)
from benchmarks.trainer.timing import measured_roof
from benchmarks.trainer.updates import MEMORY_GOAL, MFU_GOAL, UPDATES, update_rows
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.distributed.world import resolve_device
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.weights import DType

if TYPE_CHECKING:
    from tgrpo_trainer.__main__ import BenchOptions

REPEATS = {"cuda": 10, "cpu": 5}
UPDATE_REPEATS = 3
TINY_CONTROL_STEPS, CONTROL_STEPS = 8, 64
"""Length of the iteration's episodes, where the model is tiny and else: enough for a rate."""


def run_bench(options: BenchOptions) -> str:
    """Measure a model on this machine; minutes on a GPU, about one for the tiny model on a CPU.

    Raises:
        UnknownNameError: No such size.
        ConfigError: The model does not fit the device, there is no such device, or a number is below 1.
        CheckpointError: The checkpoint cannot be read.
    """
    if min(*options.batch_sizes, options.num_decisions, options.microbatch_size, 1) < 1 or not options.batch_sizes:
        raise ConfigError("--batch-sizes, --num-decisions and --microbatch-size count rows; give 1 or more.")
    where = usable_device(options.device)
    name = options.size or ("7b" if where.type == "cuda" else "tiny")
    dtype: DType = options.dtype or ("bfloat16" if where.type == "cuda" else "float32")
    if options.checkpoint is None:
        chosen = get_size(name)
        refuse_too_large(name, chosen.architecture, max(options.batch_sizes), where, DTYPES[dtype])
        policy = random_policy(chosen, where, DTYPES[dtype], decoding=options.decoding, compiled=options.compile)
    else:
        name = options.checkpoint.name
        policy = checkpoint_policy(options.checkpoint, dtype, decoding=options.decoding, compiled=options.compile)
        if where.type != "cpu":
            refuse_too_large(name, policy.model.architecture, max(options.batch_sizes), where, DTYPES[dtype])
            policy = policy.to(where)
    repeats = REPEATS[where.type]
    roof, data_sheet = measured_roof(where, DTYPES[dtype], repeats=repeats), DATA_SHEETS.get(device_name(where))
    rows = machine_rows(roof, data_sheet)
    if "decisions" in options.parts:
        rows += decision_rows(policy, options.batch_sizes, roof, repeats=repeats)
    if "iteration" in options.parts:
        config = iteration_config(policy, options.assets, TINY_CONTROL_STEPS if name == "tiny" else CONTROL_STEPS)
        rows += iteration_rows(policy, config, microbatch_size=options.microbatch_size)
    if "updates" in options.parts:
        rows += update_rows(
            policy,
            UPDATES,
            num_decisions=options.num_decisions,
            microbatch_size=options.microbatch_size,
            roof=roof,
            data_sheet=data_sheet,
            repeats=UPDATE_REPEATS,
        )
    remark = ""
    if name == "tiny":
        rows = [replace(row, goal="") for row in rows] + rows_of_7b(options.batch_sizes)
        remark = (
            "The model is tiny: these are not the numbers of OpenVLA-7B, and its shares of the roofline say nothing "
            "about it."
        )
    facts = facts_of(policy, name, where, dtype)
    if options.out is not None:
        save_json(options.out, facts, rows, remark)
    return as_text(facts, rows, remark)


def usable_device(name: str) -> torch.device:
    """The torch device; auto takes a GPU where there is one.

    Raises:
        ConfigError: It is neither a CPU nor a GPU that is there.
    """
    device = resolve_device(name)
    if device.type not in REPEATS or (device.type == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(
            f"--device {name} cannot be measured on this machine: no such GPU is there (or it is not one of CUDA's); "
            "use auto or cpu."
        )
    return device


def machine_rows(roof: Roof, data_sheet: Roof | None) -> list[Measurement]:
    """The limits: as measured just now, and as the maker states them."""
    rows = [
        Measurement("memory bandwidth, measured on a copy", roof.bytes_per_s / 1e9, "GB/s"),
        Measurement("matrix product, measured", roof.flops_per_s / 1e12, "TFLOP/s"),
    ]
    names = ("memory bandwidth, data sheet", "matrix product, data sheet")
    if data_sheet is None:
        why = "no data sheet of this device here"
        return [*rows, not_run(names[0], "GB/s", why), not_run(names[1], "TFLOP/s", why)]
    return [
        *rows,
        Measurement(names[0], data_sheet.bytes_per_s / 1e9, "GB/s"),
        Measurement(names[1], data_sheet.flops_per_s / 1e12, "TFLOP/s"),
    ]


def rows_of_7b(batch_sizes: Sequence[int]) -> list[Measurement]:
    """What only the model of the published size can show."""
    why = "needs --size 7b on a GPU"
    decisions = [
        row
        for batch_size in batch_sizes
        for row in (
            not_run(f"OpenVLA-7B, batch {batch_size}: actions per second", "1/s", why),
            not_run(f"OpenVLA-7B, batch {batch_size}: share of the roofline", "%", why, ROOFLINE_GOAL),
        )
    ]
    updates = [
        row
        for variant in UPDATES
        for row in (
            not_run(f"OpenVLA-7B, {variant.name}: MFU by the data sheet", "%", why, MFU_GOAL),
            not_run(f"OpenVLA-7B, {variant.name}: peak memory", "GiB", why, MEMORY_GOAL),
        )
    ]
    return decisions + updates


def facts_of(policy: OpenVlaPolicy, name: str, device: torch.device, dtype: str) -> dict[str, str | int]:
    """What the numbers are of."""
    return {
        "model": name,
        "parameters": num_parameters(policy.model.architecture),
        "prefix": decision_of(policy, random_input(policy, 1)).places,
        "device": device_name(device),
        "dtype": dtype,
        "decoding": policy.settings.decoding,
        "compiled": str(policy.settings.compile),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def device_name(device: torch.device) -> str:
    """A GPU's name as its driver has it; else the device's type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
