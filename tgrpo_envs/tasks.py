"""The 130 tasks of LIBERO: names, instructions, goals, horizons, and where LIBERO keeps their files."""

from __future__ import annotations

import functools
import importlib.util
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tgrpo_envs.arrays import integer, shown
from tgrpo_envs.errors import AssetError, ConfigError, UnknownNameError
from tgrpo_envs.extras import INSTALL_LIBERO

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")

# Control steps (20 Hz) after which an episode is cut: the limits of OpenVLA's evaluation, which others took over. They
# round up the suite's longest demonstration (193, 254, 270, 505 and 373 steps).
HORIZONS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}


@dataclass(frozen=True)
class Task:
    """One task of the benchmark.

    Attributes:
        suite: One of `SUITES`.
        index: Place in the suite, in the benchmark's own order (its task order 0).
        name: Stem of the BDDL file.
        instruction: The sentence the benchmark gives to a policy: it comes from the file's name, not from the file.
        goal: Predicates that must all hold, each as ``("in", "alphabet_soup_1", "basket_1_contain_region")``.
    """

    suite: str
    index: int
    name: str
    instruction: str
    goal: tuple[tuple[str, ...], ...]

    @property
    def horizon(self) -> int:
        """Control steps (20 Hz) after which an episode is cut."""
        return HORIZONS[self.suite]


def list_tasks(suite: str | None = None) -> tuple[Task, ...]:
    """All tasks, or those of one suite, in the benchmark's order.

    Raises:
        UnknownNameError: There is no such suite.
    """
    if suite is not None and suite not in SUITES:
        raise UnknownNameError("suite", suite, SUITES)
    return tuple(task for task in _all_tasks() if suite in (None, task.suite))


def get_task(suite: str, task: int | str) -> Task:
    """One task by its index or its name.

    Raises:
        UnknownNameError: There is no such suite, or no such task in it.
        ConfigError: Neither a whole number nor a name.
    """
    tasks = list_tasks(suite)
    wanted = task if isinstance(task, str) else integer(task)
    if wanted is None:
        raise ConfigError(f"task={shown(task)} must be the index of a task of {suite}, a whole number, or its name.")
    found = {entry.name if isinstance(wanted, str) else entry.index: entry for entry in tasks}
    if wanted not in found:
        raise UnknownNameError(f"{suite} task", wanted, found)
    return found[wanted]


def bddl_path(task: Task) -> Path:
    """The task's BDDL file in the installed LIBERO.

    Raises:
        AssetError: LIBERO is not installed, or lacks the file.
    """
    return _libero_file("bddl_files", task, ".bddl")


def init_states_path(task: Task) -> Path:
    """The benchmark's 50 initial states of the task: a pickle of LIBERO's, see `tgrpo_envs.scene.states`.

    Raises:
        AssetError: LIBERO is not installed, or lacks the file.
    """
    return _libero_file("init_files", task, ".pruned_init")


def _libero_file(folder: str, task: Task, suffix: str) -> Path:
    path = _libero_folder() / folder / task.suite / f"{task.name}{suffix}"
    if not path.is_file():
        raise AssetError(f"{path} is missing. Install LIBERO again: run scripts/setup.sh.")
    return path


def _libero_folder() -> Path:
    """Folder of ``libero.libero``, found without importing it: its import asks questions on stdin."""
    spec = importlib.util.find_spec("libero")
    if spec is None or not spec.submodule_search_locations:
        raise AssetError(
            f"LIBERO's task files are not installed: {INSTALL_LIBERO}. In a clone, scripts/setup.sh does both."
        )
    return Path(spec.submodule_search_locations[0]) / "libero"


@functools.cache
def _all_tasks() -> tuple[Task, ...]:
    table = json.loads(resources.files("tgrpo_envs").joinpath("data/tasks.json").read_text(encoding="utf-8"))
    return tuple(
        Task(suite, index, entry["name"], entry["instruction"], tuple(map(tuple, entry["goal"])))
        for suite in SUITES
        for index, entry in enumerate(table[suite])
    )
