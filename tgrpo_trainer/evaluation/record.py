"""The record of an `eval` command: one JSON file with the policy, every setting, the counts and all episodes."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import TypeAdapter

from tgrpo_envs.base_settings import Settings
from tgrpo_trainer.evaluation.failures import FailureVideo
from tgrpo_trainer.evaluation.result import Evaluation, Pooled, read_json, write_json
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.smolvla.settings import SmolVlaConfig

RECORD_NAME = "evaluation.json"
BENCHMARK_PACK = "libero"
PACKAGES = ("tgrpo", "mujoco", "torch", "gymnasium", "numpy")


class PolicyRecord(Settings):
    """Which policy was evaluated."""

    path: str
    """Checkpoint or policy folder."""
    digest: str
    """SHA-256 over its files (`evaluation.source.policy_digest`)."""
    kind: str
    """Kind of policy: nano, nano_gaussian, openvla, smolvla."""
    image_size: int
    """Side of its pictures in pixels."""
    action_chunk: int
    """Control steps a decision."""
    iteration: int
    """Training iterations behind it; 0 for a policy that comes without a run."""
    openvla: OpenVlaConfig | None = None
    """How a published OpenVLA was used; none for a policy that brings its own settings."""
    smolvla: SmolVlaConfig | None = None
    """The same of a published SmolVLA."""


class EvaluationFile(Settings):
    """All that one `eval` command found, and what is needed to repeat it."""

    policy: PolicyRecord
    versions: dict[str, str]
    """Of python, tgrpo, mujoco, torch, gymnasium and numpy."""
    device: str
    """Where the policy ran."""
    num_envs: int
    """Environments side by side (no result depends on it)."""
    note: str
    """Whether the numbers can stand beside the benchmark's."""
    evaluations: tuple[Evaluation, ...]
    """One for each task, set and mode, with settings, horizon, seed and every episode."""
    pooled: tuple[Pooled, ...]
    """One for each set and mode, over all tasks."""
    videos: tuple[FailureVideo, ...]
    """Failures on video."""

    def save(self, folder: Path) -> Path:
        """Write `folder`/evaluation.json and return its path."""
        write_json(folder / RECORD_NAME, _FILE, self)
        return folder / RECORD_NAME

    @classmethod
    def load(cls, path: Path) -> EvaluationFile:
        """Read what `save` wrote.

        Raises:
            CheckpointError: Not such a file, or of another version.
        """
        return read_json(path, _FILE)


_FILE = TypeAdapter(EvaluationFile)


def comparability(asset_packs: Sequence[str]) -> str:
    """What a reader must know before setting the numbers beside published ones."""
    others = sorted({pack for pack in asset_packs if pack != BENCHMARK_PACK})
    if others:
        return f"Asset pack {', '.join(others)}: these results are NOT comparable with the benchmark's."
    return (
        "Asset pack libero: official states can be compared with published results, within what "
        "docs/evaluation.md says differs; held-out states are this project's own."
    )


def installed_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that was never installed
            found[package] = "not installed"
    return found
