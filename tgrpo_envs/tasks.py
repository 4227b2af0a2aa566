"""The 130 tasks of LIBERO and those of a user's own file: names, instructions, goals, horizons, and where files lie."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from tgrpo_envs.arrays import integer, shown
from tgrpo_envs.bddl import error_at, in_file, parse_problem, read_text
from tgrpo_envs.errors import AssetError, ConfigError, UnknownNameError
from tgrpo_envs.extras import INSTALL_LIBERO
from tgrpo_envs.files import cache_dir, write_atomically
from tgrpo_envs.s_expressions import Atom, Group, parse_tree

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
CUSTOM = "custom"  # in place of a suite: tasks of a user's own BDDL file
CONTROL_HZ = 20  # control steps a second, in every task

# Control steps after which an episode is cut: the limits of OpenVLA's evaluation, which others took over. They
# round up the suite's longest demonstration (193, 254, 270, 505 and 373 steps). A file of one's own does not say how
# long its task takes, so it gets the longest of them.
HORIZONS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
    CUSTOM: 520,
}


@dataclass(frozen=True)
class Task:
    """One task of the benchmark, or of a user's own file.

    Attributes:
        suite: One of `SUITES`, or `CUSTOM`.
        index: Place in the suite, in the benchmark's own order (its task order 0); 0 in `CUSTOM`.
        name: Stem of the BDDL file.
        instruction: The sentence that a policy is given. The benchmark takes it from the file's name; of a file of
            one's own it is the ``:language``.
        goal: Predicates that must all hold, each as ``("in", "alphabet_soup_1", "basket_1_contain_region")``.
        bddl: Text of the file of one's own, so that the task stays what it is when the file changes, or of a changed
            file of LIBERO's; else empty.
    """

    suite: str
    index: int
    name: str
    instruction: str
    goal: tuple[tuple[str, ...], ...]
    bddl: str = field(default="", repr=False)

    @property
    def horizon(self) -> int:
        """Control steps (20 Hz) after which an episode is cut."""
        return HORIZONS[self.suite]

    @property
    def bddl_digest(self) -> str:
        """Digest of what `bddl` says, comments and layout apart; empty without one."""
        return hashlib.sha256(_words(parse_tree(self.bddl)).encode()).hexdigest() if self.bddl else ""

    def has_changed_since(self, digest: str) -> bool:
        """Whether the file of one's own said something else when `bddl_digest` was this; an empty one tells nothing."""
        return bool(digest and self.bddl) and digest != self.bddl_digest

    @property
    def siblings(self) -> tuple[Task, ...]:
        """All tasks of its suite, itself among them."""
        return (self,) if self.suite == CUSTOM else list_tasks(self.suite)


def list_tasks(suite: str | None = None) -> tuple[Task, ...]:
    """All tasks, or those of one suite, in the benchmark's order.

    Raises:
        UnknownNameError: There is no such suite.
        ConfigError: `CUSTOM`, whose tasks nobody lists.
    """
    if suite == CUSTOM:
        raise ConfigError(
            f"Tasks of the suite {CUSTOM!r} are known by their BDDL files; give bddl=FILE, or --bddl FILE to a command "
            f"that takes it. The others are for LIBERO's suites: {', '.join(SUITES)}."
        )
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


def choose_task(suite: str, task: int | str = 0, bddl: str | Path | None = None) -> Task:
    """The task by suite and name, or the one that a file of one's own poses.

    Raises:
        UnknownNameError: There is no such suite, or no such task in it.
        ConfigError: A file, and a suite or task of LIBERO's; or `CUSTOM` without a file.
        BddlError: See `task_from_file`.
    """
    if bddl is None:
        return get_task(suite, task)
    if suite != CUSTOM:
        raise ConfigError(
            f"bddl={shown(bddl)} is a task of your own, which {suite} has not; its suite is {CUSTOM!r}, its id "
            "tgrpo_envs:TGRPO-Custom-v0."
        )
    if not isinstance(bddl, str | Path) or task != 0:
        raise ConfigError(f"bddl={shown(bddl)} must be the path of one task file, and task={shown(task)} left out.")
    return task_from_file(bddl)


def recorded_task(suite: str, name: str, bddl: str | Path | None = None) -> Task:
    """The task that a spec or an episode says it is of, looked up in a file of one's own where it is not LIBERO's.

    Raises:
        UnknownNameError: There is no such suite, or no such task in it.
        ConfigError: It is of a user's own file, and that was not given, or poses another task; or it is LIBERO's, and a
            file was given.
        BddlError: See `task_from_file`.
    """
    if suite != CUSTOM:
        task = get_task(suite, name)
        if bddl is not None:
            raise ConfigError(f"It is of {suite}/{name}, a task of LIBERO's and not of {bddl}; leave --bddl out.")
        return task
    if bddl is None:
        raise ConfigError(f"It is of {name}, a task of your own; say with --bddl which file poses it.")
    task = task_from_file(bddl)
    if task.name != name:
        raise ConfigError(f"It is of {name}, and {bddl} poses {task.name}; give the file {name}.bddl.")
    return task


def task_from_file(path: str | Path) -> Task:
    """The task that a BDDL file of one's own poses.

    Raises:
        BddlError: The file cannot be read, is not a task file, or has no ``:language``; the message names the line.
    """
    with in_file(path):
        return task_from_text(Path(path).stem, read_text(path))


def task_from_text(name: str, bddl: str) -> Task:
    """The task that the text of a BDDL file poses.

    Raises:
        BddlError: See `task_from_file`.
    """
    problem = parse_problem(bddl)
    if not problem.language:
        raise error_at(1, "no sentence for the policy", "Add '(:language WHAT TO DO)'")
    return Task(CUSTOM, 0, name, problem.language, problem.goal, bddl)


def bddl_path(task: Task) -> Path:
    """The task's BDDL file: the installed LIBERO's, or the cache's copy of another as it was when it was read.

    Raises:
        AssetError: LIBERO is not installed, or lacks the file.
        OutputError: The cache cannot be written.
    """
    if not task.bddl:
        return _libero_file("bddl_files", task, ".bddl")
    digest = hashlib.sha256(task.bddl.encode()).hexdigest()[:16]
    path = cache_dir() / "tasks" / digest / f"{task.name}.bddl"
    if not path.is_file():
        write_atomically(path, task.bddl)
    return path


def init_states_path(task: Task) -> Path:
    """The benchmark's 50 initial states of the task: a pickle of LIBERO's, see `tgrpo_envs.scene.states`.

    Raises:
        ConfigError: The task is of a user's own file.
        AssetError: LIBERO is not installed, or lacks the file.
    """
    check_is_official(task)
    return _libero_file("init_files", task, ".pruned_init")


def check_is_official(task: Task) -> None:
    """Make sure that the benchmark has initial states of the task.

    Raises:
        ConfigError: It is of a user's own file.
    """
    if task.suite == CUSTOM:
        raise ConfigError(
            f"{task.name} has no official initial states: LIBERO publishes 50 for each of its own tasks and none for a "
            'file of yours; take init_states="train" (drawn anew) or "heldout" (fixed), both from its regions.'
        )


def _words(item: Atom | Group) -> str:
    return item.text if isinstance(item, Atom) else f"({' '.join(map(_words, item.items))})"


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
