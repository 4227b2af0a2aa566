"""Checkpoints: a folder per saved iteration that is either complete or not there, and can prove it is undamaged.

    <root>/iteration_000040/policy/{config.json, policy.safetensors}     the whole weights, however they are spread
                            optimizer/rank_00000.safetensors ...         the optimiser's tensors (optimizer_files.py)
                            state.pt         counters and settings: whatever else the caller needs to go on exactly
                            manifest.json    iteration, score, and size and SHA-256 of every other file

A checkpoint is written beside its final place and renamed into it, so a killed run leaves at worst a `.partial` folder.
With several ranks all save together into one folder that all of them see, and any number of ranks can go on from it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_envs.files import ARRAY_ERRORS, read_json, writing
from tgrpo_trainer.distributed.fsdp import full_state
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.optim.optimizer import optimizer_kind
from tgrpo_trainer.optim.optimizer_files import load_optimizer, param_groups, save_optimizer
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.run.layout import CHECKPOINTS_NAME, EVALUATIONS_NAME, iteration_name

PREFIX = "iteration_"
PARTIAL = ".partial"
MANIFEST = "manifest.json"
STATE = "state.pt"
POLICY = "policy"
OPTIMIZER = "optimizer"
PARAM_GROUPS = "param_groups"
"""Where state.pt keeps the optimiser's settings."""

Files = dict[str, dict[str, int | str]]
"""Size and digest of files, by their path inside the checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        iteration: Iterations finished when it was saved.
        score: The number checkpoints are compared by (higher is better); None if it was not measured then.
        policy: Rebuilt, on the CPU.
        state: The mapping that was saved.
        folder: Where it lies.
    """

    iteration: int
    score: float | None
    policy: Policy
    state: dict[str, Any]
    folder: Path

    def restore_optimizer(self, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
        """Give a new optimiser the saved one's state; before the first iteration there is none.

        Args:
            policy: This checkpoint's, by now perhaps sharded and on another device.
            optimizer: Over its parameters.

        Raises:
            CheckpointError: It was the state of another optimiser, or none was saved.
        """
        if PARAM_GROUPS not in self.state and self.iteration > 0:
            raise CheckpointError(
                f"{self.folder} holds no optimiser that this version reads, so training cannot go on from it exactly; "
                f"start a new run from its policy: --policy.checkpoint {self.folder / POLICY}."
            )
        if PARAM_GROUPS in self.state:
            load_optimizer(self.folder / OPTIMIZER, self.state[PARAM_GROUPS], policy, optimizer)


def save_checkpoint(
    root: Path,
    *,
    iteration: int,
    policy: Policy,
    state: Mapping[str, Any],
    score: float | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    world: World = World(),  # noqa: B008 - frozen
) -> Path:
    """Write one checkpoint, replacing any of the same iteration; all ranks call it together.

    Args:
        root: Folder of the run's checkpoints.
        iteration: Iterations finished.
        policy: Its weights and settings.
        state: Tensors, numbers, strings, and lists and dicts of them; rank 0's counts.
        score: Success rate or the like; higher is better.
        optimizer: Of the policy's parameters; None for a checkpoint of the policy alone.
        world: The ranks.

    Returns:
        The checkpoint's folder.

    Raises:
        OutputError: The place cannot be written; there is no checkpoint then.
        RankError: Another rank could not write its part; likewise.
    """
    final = root / f"{PREFIX}{iteration:06d}"
    partial = root / f"{final.name}{PARTIAL}"
    with writing(final), _gone_if_unfinished(partial, world):
        with world.together():
            if world.is_main:
                shutil.rmtree(partial, ignore_errors=True)
                for name in (POLICY, OPTIMIZER):
                    (partial / name).mkdir(parents=True)
        weights = full_state(policy, world)
        written: Files = {}
        with world.together():
            if world.is_main:
                policy.save(partial / POLICY, weights)
                settings = {} if optimizer is None else {PARAM_GROUPS: param_groups(optimizer)}
                _save_tensors({**state, **settings}, partial / STATE)
                written |= _finish(partial, [partial / STATE, *(partial / POLICY).iterdir()])
            if optimizer is not None:
                part = save_optimizer(partial / OPTIMIZER, policy, optimizer, world)
                written |= _finish(partial, [] if part is None else [part])
        parts = world.gather(written)
        with world.together():
            if world.is_main:
                files = {name: entry for part in parts for name, entry in sorted(part.items())}
                manifest = {"iteration": iteration, "score": score, "files": files}
                (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
                for path in (partial / MANIFEST, partial / POLICY, partial / OPTIMIZER, partial):
                    _flush(path)
                if final.exists():
                    _discard(final)
                partial.rename(final)
                _flush(root)
    return final


def load_checkpoint(folder: Path, world: World = World()) -> Checkpoint:  # noqa: B008 - frozen
    """Read a checkpoint after checking every byte of it; of several ranks the first checks for all.

    Raises:
        CheckpointError: Names the file that is missing or damaged.
        RankError: Another rank could not read it.
    """
    with world.together():
        manifest = _read_manifest(folder)
        if world.is_main:
            for name, expected in manifest["files"].items():
                _check(folder, name, expected)
    with world.together():
        policy, state = load_policy(folder / POLICY), read_state(folder)
    return Checkpoint(manifest["iteration"], manifest["score"], policy, state, folder)


def read_state(folder: Path) -> dict[str, Any]:
    """The mapping that was saved with a checkpoint.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        state.keys()
    except (*ARRAY_ERRORS, RuntimeError, IndexError, AttributeError, pickle.UnpicklingError) as error:
        said = (str(error) or type(error).__name__).partition("\n")[0]
        raise CheckpointError(f"{folder / STATE} is missing or damaged ({said}); {_cure(folder)}.") from error
    return state


def refuse_other_optimizer(folder: Path, wanted: str) -> None:
    """Training goes on with the kind of optimiser whose state a checkpoint holds; before the first iteration with any.

    Args:
        folder: The checkpoint's.
        wanted: `update.optimizer` of the settings to go on with.

    Raises:
        ConfigError: It holds the state of another kind.
        CheckpointError: See `read_state`.
    """
    groups = read_state(folder).get(PARAM_GROUPS)
    if groups and (kind := optimizer_kind(groups[0])) != wanted:
        raise ConfigError(
            f"update.optimizer is {wanted}, but {folder} holds the state of {kind}, which does not fit it; go on with "
            f"--update.optimizer {kind}, or start a new run from its policy: --policy.checkpoint {folder / POLICY}."
        )


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


def prune_checkpoints(root: Path, *, keep_last: int, keep_first: bool = False) -> None:
    """Delete all but the latest `keep_last` and the best, and what interrupted saves left behind.

    Args:
        root: Folder of the checkpoints.
        keep_last: At least 1.
        keep_first: Keep the earliest one too.
    """
    folders = list_checkpoints(root)
    kept = {best_checkpoint(root), *folders[-keep_last:], *(folders[:1] if keep_first else ())}
    for folder in folders:
        if folder not in kept:
            _discard(folder)
    for folder in root.glob(f"{PREFIX}*{PARTIAL}"):
        shutil.rmtree(folder)


def discard_later(folder: Path, iteration: int) -> tuple[str, ...]:
    """Delete the evaluations after an iteration that a run goes on from, and their checkpoints: that policy is gone.

    Args:
        folder: The run's.
        iteration: Iterations that had finished then.

    Returns:
        The names of what was there, in their order.

    Raises:
        OutputError: It cannot be deleted.
    """
    last = iteration_name(iteration)
    files = [path for path in (folder / EVALUATIONS_NAME).glob(f"{PREFIX}*.json") if path.stem > last]
    checkpoints = [path for path in list_checkpoints(folder / CHECKPOINTS_NAME) if path.name > last]
    with writing(folder):
        for path in files:
            path.unlink()
        for path in checkpoints:
            _discard(path)
    return tuple(sorted({path.stem for path in (*files, *checkpoints)}))


@contextmanager
def _gone_if_unfinished(partial: Path, world: World) -> Iterator[None]:
    """A checkpoint that could not be finished may be large, and on a full disk."""
    try:
        yield
    except BaseException:
        if world.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _save_tensors(content: Mapping[str, Any], path: Path) -> None:
    """`torch.save`, which into a file on a full disk would not say what is wrong."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    path.write_bytes(buffer.getvalue())


def _discard(folder: Path) -> None:
    """Delete a checkpoint so that it is never half there: its name goes first, then its files."""
    doomed = folder.with_name(f"{folder.name}.old{PARTIAL}")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is missing or damaged, so {folder} cannot be trusted: {error}") from error
    if not _is_manifest(manifest):
        raise CheckpointError(f"{path} is not the manifest of a checkpoint of this version.")
    return manifest


def _is_manifest(found: object) -> bool:
    if not isinstance(found, dict) or not {"iteration", "score", "files"} <= found.keys():
        return False
    numbers = type(found["iteration"]) is int and isinstance(found["score"], int | float | None)
    files = found["files"].values() if isinstance(found["files"], dict) else [None]
    return numbers and all(isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys() for entry in files)


def _cure(folder: Path) -> str:
    return f"take {folder} away to go on from an earlier checkpoint"


def _check(folder: Path, name: str, expected: Mapping[str, Any]) -> None:
    path = folder / name
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; {_cure(folder)}.")
    if path.stat().st_size != expected["bytes"] or _sha256(path) != expected["sha256"]:
        raise CheckpointError(f"{path} is damaged (its checksum differs); {_cure(folder)}.")


def _finish(root: Path, paths: list[Path]) -> Files:
    """Bring files to the disk, and say what they are."""
    for path in paths:
        _flush(path)
    return {
        path.relative_to(root).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in paths
    }


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
