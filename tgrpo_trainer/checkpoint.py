"""Checkpoints: a folder per saved iteration that is either complete or not there, and can prove it is undamaged.

    <root>/iteration_000040/policy/{config.json, policy.safetensors}
                            state.pt         optimiser, generators, counters: whatever the caller needs to go on exactly
                            manifest.json    iteration, score, and size and SHA-256 of every other file

A checkpoint is written beside its final place and renamed into it, so a killed run leaves at worst a `.partial` folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.policy import Policy, load_policy

PREFIX = "iteration_"
PARTIAL = ".partial"
MANIFEST = "manifest.json"
STATE = "state.pt"
POLICY = "policy"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        iteration: Iterations finished when it was saved.
        score: The number checkpoints are compared by (higher is better); None if it was not measured then.
        policy: Rebuilt, on the CPU.
        state: The mapping that was saved.
    """

    iteration: int
    score: float | None
    policy: Policy
    state: dict[str, Any]


def save_checkpoint(
    root: Path, *, iteration: int, policy: Policy, state: Mapping[str, Any], score: float | None = None
) -> Path:
    """Write one checkpoint, replacing any of the same iteration.

    Args:
        root: Folder of the run's checkpoints.
        iteration: Iterations finished.
        policy: Its weights and settings.
        state: Tensors, numbers, strings, and lists and dicts of them.
        score: Success rate or the like; higher is better.

    Returns:
        The checkpoint's folder.
    """
    final = root / f"{PREFIX}{iteration:06d}"
    partial = root / f"{final.name}{PARTIAL}"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / POLICY).mkdir(parents=True)
    policy.save(partial / POLICY)
    torch.save(dict(state), partial / STATE)
    files = {
        path.relative_to(partial).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(partial.rglob("*"))
        if path.is_file()
    }
    manifest = {"iteration": iteration, "score": score, "files": files}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for path in partial.rglob("*"):
        _flush(path)
    if final.exists():
        _discard(final)
    partial.rename(final)
    _flush(root)
    return final


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint after checking every byte of it.

    Raises:
        CheckpointError: Names the file that is missing or damaged.
    """
    manifest = _read_manifest(folder)
    for name, expected in manifest["files"].items():
        _check(folder / name, expected)
    try:
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{folder / STATE} cannot be read: {error}") from error
    return Checkpoint(manifest["iteration"], manifest["score"], load_policy(folder / POLICY), state)


def list_checkpoints(root: Path) -> tuple[Path, ...]:
    """Folders of all finished checkpoints, oldest first; none if the folder does not exist."""
    return tuple(sorted(path for path in root.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit()))


def latest_checkpoint(root: Path) -> Path | None:
    """The checkpoint with the most iterations, if there is one."""
    return max(list_checkpoints(root), default=None)


def best_checkpoint(root: Path) -> Path | None:
    """The checkpoint with the highest score, the later one of equals; None if none has a score.

    Raises:
        CheckpointError: A manifest is damaged.
    """
    scored = [(score, path) for path in list_checkpoints(root) if (score := _read_manifest(path)["score"]) is not None]
    return max(scored)[1] if scored else None


def prune_checkpoints(root: Path, *, keep_last: int) -> None:
    """Delete all but the latest `keep_last` and the best, and what interrupted saves left behind."""
    best = best_checkpoint(root)
    folders = list_checkpoints(root)
    for folder in folders[: max(0, len(folders) - keep_last)]:
        if folder != best:
            _discard(folder)
    for folder in root.glob(f"{PREFIX}*{PARTIAL}"):
        shutil.rmtree(folder)


def _discard(folder: Path) -> None:
    """Delete a checkpoint so that it is never half there: its name goes first, then its files."""
    doomed = folder.with_name(f"{folder.name}.old{PARTIAL}")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is missing or damaged, so {folder} cannot be trusted: {error}") from error
    if not isinstance(manifest, dict) or not {"iteration", "score", "files"} <= manifest.keys():
        raise CheckpointError(f"{path} is not the manifest of a checkpoint of this version.")
    return manifest


def _check(path: Path, expected: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; resume from an earlier checkpoint.")
    if path.stat().st_size != expected["bytes"] or _sha256(path) != expected["sha256"]:
        raise CheckpointError(f"{path} is damaged (its checksum differs); resume from an earlier checkpoint.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Make a file or folder survive a power cut: renaming may otherwise reach the disk before the contents do."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
