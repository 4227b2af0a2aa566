"""The task table against LIBERO's own files, read independently."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tgrpo_envs.errors import AssetError, ConfigError, UnknownNameError
from tgrpo_envs.tasks import HORIZONS, SUITES, Task, bddl_path, get_task, init_states_path, list_tasks


def libero_folder() -> Path:
    spec = importlib.util.find_spec("libero")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "libero"


def official_names(suite: str) -> list[str]:
    """Names in the order LIBERO's map lists them, found by pattern instead of by parsing Python."""
    source = (libero_folder() / "benchmark" / "libero_suite_task_map.py").read_text()
    block = source.split(f'"{suite}": [')[1].split("]")[0]
    return re.findall(r'"([^"]+)"', block)


def test_sizes_and_order_are_the_benchmarks() -> None:
    assert [len(list_tasks(suite)) for suite in SUITES] == [10, 10, 10, 10, 90]
    assert len(list_tasks()) == 130
    for suite in SUITES:
        tasks = list_tasks(suite)
        assert [task.name for task in tasks] == official_names(suite)
        assert [task.index for task in tasks] == list(range(len(tasks)))


def test_instructions_come_from_file_names() -> None:
    assert get_task("libero_object", 0).instruction == "pick up the alphabet soup and place it in the basket"
    # One and two digits of scene number: LIBERO cuts each at its own place.
    assert get_task("libero_90", 0).instruction == "close the top drawer of the cabinet"
    assert get_task("libero_90", 0).name.startswith("KITCHEN_SCENE10_")
    assert get_task("libero_90", 6).name.startswith("KITCHEN_SCENE1_")
    assert get_task("libero_90", 6).instruction == "open the bottom drawer of the cabinet"
    for task in list_tasks():
        assert task.name.endswith(task.instruction.replace(" ", "_"))
        assert "SCENE" not in task.instruction


def test_goals_of_the_table_are_counted_as_in_libero() -> None:
    def predicates(suite: str | None) -> Counter[str]:
        return Counter(conjunct[0] for task in list_tasks(suite) for conjunct in task.goal)

    assert predicates("libero_spatial") == {"on": 10}
    assert predicates("libero_object") == {"in": 10}
    assert predicates("libero_goal") == {"on": 7, "in": 1, "open": 1, "turnon": 1}
    assert predicates("libero_10") == {"in": 9, "on": 7, "close": 2, "turnon": 2}
    assert predicates("libero_90") == {"in": 43, "on": 37, "close": 9, "open": 6, "turnon": 5, "turnoff": 1}
    assert Counter(len(task.goal) for task in list_tasks()) == {1: 110, 2: 19, 3: 1}


def test_horizons() -> None:
    assert [HORIZONS[suite] for suite in SUITES] == [220, 280, 300, 520, 400]
    assert get_task("libero_goal", 3).horizon == 300


def test_a_task_is_found_by_index_and_by_name() -> None:
    for task in list_tasks("libero_90"):
        assert get_task("libero_90", task.index) is get_task("libero_90", task.name)


@pytest.mark.parametrize("index", [np.int64(3), np.uint8(3), np.array(3)])
def test_an_index_is_a_whole_number_of_any_library(index: int) -> None:
    assert get_task("libero_goal", index) is get_task("libero_goal", 3)


@pytest.mark.parametrize("task", [-1, 10, 130, "pick_up_the_alphabet_soup", "", "0"])
def test_an_unknown_task_is_refused(task: int | str) -> None:
    with pytest.raises(UnknownNameError, match="Unknown libero_object task"):
        get_task("libero_object", task)


def test_a_misspelt_suite_gets_near_matches() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'libero_object'"):
        list_tasks("libero_objects")


def test_who_lists_tasks_of_ones_own_is_told_which_suites_can_be() -> None:
    """As for `rewards report`, `rewards compare` and `states`, none of which takes a file."""
    with pytest.raises(ConfigError, match=r"to a command that takes it\. The others are for .*: libero_spatial, "):
        list_tasks("custom")


def test_files_exist_for_every_task() -> None:
    for task in list_tasks():
        assert bddl_path(task).stem == task.name
        assert init_states_path(task).stat().st_size > 1000


def test_a_missing_file_says_what_to_do() -> None:
    with pytest.raises(AssetError, match=r"no_such_task\.bddl is missing.*setup\.sh"):
        bddl_path(Task("libero_object", 0, "no_such_task", "", ()))


def test_finding_files_does_not_import_libero() -> None:
    code = "import sys, tgrpo_envs.tasks as t; t.bddl_path(t.get_task('libero_10', 0)); print('libero' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
