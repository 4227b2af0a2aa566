"""Comparing what two runs left behind: everything but the seconds and the memory they took."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tgrpo_trainer.evaluation.result import Evaluation, load_evaluations
from tgrpo_trainer.metrics.metrics import read_metrics
from tgrpo_trainer.optim.optimizer_files import load_optimizer
from tgrpo_trainer.run.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint

TIMINGS = re.compile(r"^(time|memory)/")


def logged(folder: Path) -> list[dict[str, float | None]]:
    """The metrics that must not depend on the machine."""
    return [{key: value for key, value in row.items() if not TIMINGS.match(key)} for row in read_metrics(folder)]


def evaluated(folder: Path) -> dict[str, tuple[Evaluation, ...]]:
    """Every evaluation's numbers and episodes, by file."""
    return {path.name: load_evaluations(path) for path in sorted((folder / "evaluations").glob("*.json"))}


def tensors(folder: Path) -> dict[str, Tensor]:
    """Weights and optimiser state of the last checkpoint, by name."""
    checkpoint = last_checkpoint(folder)
    optimizer = torch.optim.AdamW(checkpoint.policy.parameters())
    groups = checkpoint.state["param_groups"]
    load_optimizer(checkpoint.folder / "optimizer", groups, checkpoint.policy, optimizer)
    found = dict(checkpoint.policy.state_dict())
    for name, parameter in checkpoint.policy.named_parameters():
        found |= {f"{name}/{entry}": value for entry, value in optimizer.state[parameter].items()}
    return {**found, "learning rate": torch.tensor(groups[0]["lr"]), "iteration": torch.tensor(checkpoint.iteration)}


def assert_close(got: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 1e-5) -> None:
    """Tensors of the same names, equal but for rounding."""
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=tolerance, atol=tolerance, msg=partial("{}: {}".format, name))


def latest(root: Path) -> Path:
    """The latest checkpoint of a folder that has one."""
    found = latest_checkpoint(root)
    assert found is not None
    return found


def number(row: Mapping[str, float | None], key: str) -> float:
    """A metric that was finite."""
    value = row[key]
    assert value is not None
    return value


def assert_same_run(got: Path, expected: Path) -> None:
    """Bit for bit."""
    ours, theirs = tensors(got), tensors(expected)
    assert ours.keys() == theirs.keys() and any(name.endswith("/exp_avg_sq") for name in ours)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert logged(got) == logged(expected)
    assert evaluated(got) == evaluated(expected)


def last_checkpoint(run: Path) -> Checkpoint:
    """The newest of the checkpoints that a run goes on from."""
    return load_checkpoint(latest(run / "last"))


def finite(row: dict[str, float | None]) -> dict[str, float]:
    """A row of metrics without those that were NaN or infinite."""
    return {name: value for name, value in row.items() if value is not None}
