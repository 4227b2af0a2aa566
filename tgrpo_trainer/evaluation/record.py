"""The record of an `eval` command: one JSON file with the policy, every setting, the counts and all episodes."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import TypeAdapter

from tgrpo_envs.base_settings import Settings
from tgrpo_envs.perturbation import Perturbation
from tgrpo_envs.tasks import HORIZONS
from tgrpo_trainer.evaluation.failures import FailureVideo
from tgrpo_trainer.evaluation.result import Evaluation, Pooled, read_json, write_json
from tgrpo_trainer.policy.openvla.settings import OpenVlaConfig
from tgrpo_trainer.policy.smolvla.settings import SmolVlaConfig

RECORD_NAME = "evaluation.json"
FINISHED_NAME = "finished_tasks.json"
"""Tasks that are over, of an evaluation that is not."""
BENCHMARK_PACK = "libero"
BENCHMARK_PX = 256
"""Side of the pictures that OpenVLA's script draws."""
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
        """Write `folder`/evaluation.json and return its path; what was saved of its first tasks goes."""
        write_json(folder / RECORD_NAME, _FILE, self)
        (folder / FINISHED_NAME).unlink(missing_ok=True)
        return folder / RECORD_NAME

    def save_finished_tasks(self, folder: Path, num_tasks: int) -> None:
        """Write an evaluation that lacks tasks as `folder`/finished_tasks.json, with nothing pooled.

        Args:
            folder: Where the whole one is to be.
            num_tasks: Of the whole one.
        """
        there = len({one.env.task for one in self.evaluations})
        note = f"NOT finished: {there} of {num_tasks} tasks. {self.note}"
        write_json(folder / FINISHED_NAME, _FILE, self.model_copy(update={"note": note, "pooled": ()}))

    @classmethod
    def load(cls, path: Path) -> EvaluationFile:
        """Read what `save` wrote.

        Raises:
            CheckpointError: Not such a file, or of another version.
        """
        return read_json(path, _FILE)


_FILE = TypeAdapter(EvaluationFile)


def comparability(evaluations: Sequence[Evaluation]) -> str:
    """What a reader must know before setting the numbers beside published ones."""
    differences = dict.fromkeys(sentence for one in evaluations for sentence in _differences(one))
    return " ".join(differences) or (
        "Asset pack libero: official states can be compared with published results, within what "
        "docs/evaluation.md says differs; held-out states are this project's own."
    )


def _differences(one: Evaluation) -> list[str]:
    """What makes it another test than the published one, a sentence each."""
    env, unlike = one.env, "these results are NOT comparable with the benchmark's."
    found = []
    if one.asset_pack != BENCHMARK_PACK:
        found.append(f"Asset pack {one.asset_pack}: {unlike}")
    elif env.image_size != BENCHMARK_PX:
        found.append(f"Pictures had {env.image_size} pixels a side; OpenVLA's script draws {BENCHMARK_PX}.")
    if env.bddl is not None:
        found.append("A task of your own: nothing published is comparable.")
    if env.perturbation is not None:
        found.append(f"The tasks were changed ({described(env.perturbation)}): {unlike}")
    if env.fixture_poses != "default":
        found.append(f"Fixtures stood elsewhere in every episode (fixture_poses {env.fixture_poses}): {unlike}")
    if one.horizon != (usual := HORIZONS[env.suite]):
        found.append(f"Episodes were cut after {one.horizon} control steps; {env.suite} is evaluated with {usual}.")
    return found


def described(perturbation: Perturbation) -> str:
    """A change of a task in words."""
    return f"{perturbation.kind}, level {perturbation.level}, seed {perturbation.seed}"


def installed_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that was never installed
            found[package] = "not installed"
    return found
