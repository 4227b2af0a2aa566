"""`python -m tgrpo_envs` as a user meets it: in its own process."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from tgrpo_envs.__main__ import main
from tgrpo_envs.bddl import read_problem
from tgrpo_envs.reward_tools.commands import COMMANDS
from tgrpo_envs.rewards import parse_spec, spec_from_goal
from tgrpo_envs.rewards.shipped import spec_path
from tgrpo_envs.tasks import bddl_path, get_task, list_tasks


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tgrpo_envs", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_tasks_lists_all_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["suite", "task", "instruction", "goal"]
    assert len(lines) == 130
    for task, line in zip(list_tasks(), lines, strict=True):
        assert line.startswith(task.suite)
        assert task.instruction in line


def test_tasks_of_one_suite_show_goals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--suite", "libero_10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert " ".join(lines[3].split()) == (
        "libero_10 2 turn on the stove and put the moka pot on it "
        "turnon(flat_stove_1) and on(moka_pot_1, flat_stove_1_cook_region)"
    )


def test_an_error_is_one_line_and_exit_code_2() -> None:
    result = run_cli("tasks", "--suite", "libero_goals")
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: Unknown suite 'libero_goals'. Did you mean 'libero_goal'")


def test_listing_tasks_loads_no_simulator() -> None:
    code = "import sys, tgrpo_envs.__main__ as cli; cli.main(['tasks']); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"mujoco", "numba", "libero", "torch"} & set(result.stdout.split()) == set()


def test_assets_lists_both_packs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assets"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["pack", "libero", "primitive"]


def test_assets_lists_what_a_task_file_may_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assets", "categories"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["flat_stove"] == [":fixtures", "cook_region", "turnon", "turnoff"]
    assert rows["basket"] == [":objects", "contain_region"]
    assert rows["wooden_tray"] == [":objects", "or", ":fixtures", "contain_region"]


def test_rewards_prints_a_spec_that_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    task = get_task("libero_object", 3)
    assert main(["rewards", "compile", "--suite", "libero_object", "--task", "3"]) == 0
    assert parse_spec(capsys.readouterr().out) == spec_from_goal(read_problem(bddl_path(task)), task)


def test_rewards_takes_a_name_and_refuses_an_unknown_one(capsys: pytest.CaptureFixture[str]) -> None:
    name = get_task("libero_object", 3).name
    assert main(["rewards", "compile", "--task", name]) == 0
    assert parse_spec(capsys.readouterr().out).task.name == name
    assert main(["rewards", "compile", "--task", "10"]) == 2
    assert capsys.readouterr().err.startswith("error: Unknown libero_object task '10'")


def test_demos_says_what_the_expert_cannot_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["demos", "--out", str(tmp_path / "x.hdf5"), "--suite", "libero_goal", "--task", "9"]) == 2
    assert capsys.readouterr().err.startswith("error: The scripted expert has no skill for the goal (on wine_bottle_1")


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -m tgrpo_envs tasks | head -c 1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "s", "")


def test_help_names_every_command() -> None:
    result = run_cli("--help")
    assert result.returncode == 0
    for command in ("tasks", "assets", "states", "rewards", "demos", "expert", "bench"):
        assert command in result.stdout


def test_every_command_about_rewards_exists() -> None:
    asked = {"compile", "prompt", "generate", "ingest", "lint", "certify", "show", "diff", "report", "compare"}
    assert set(COMMANDS) == asked


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_rewards_command_explains_each_of_its_arguments(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rewards", command, "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    said = inspect.getdoc(COMMANDS[command]) or ""
    summary, _, arguments = said.partition("Args:")
    assert summary.split(".")[0] in shown
    for name in inspect.signature(COMMANDS[command]).parameters:
        explained = arguments.partition(f" {name}: ")[2].split(".")[0].split("`")[0].split()
        assert explained, f"{command}: {name} is not explained"
        assert " ".join(explained[:4]) in shown, name


def test_lint_and_diff_take_files_and_say_by_the_exit_code_what_they_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good, other = (str(spec_path(get_task("libero_object", 0), producer)) for producer in ("compiled", "llm"))
    assert main(["rewards", "lint", "--strict", good, other]) == 0
    flickering = tmp_path / "flickering.json"
    flickering.write_text(Path(good).read_text().replace('"hold_steps": 3', '"hold_steps": 1'))
    assert main(["rewards", "lint", str(flickering)]) == 0
    assert main(["rewards", "lint", "--strict", str(flickering)]) == 2
    assert main(["rewards", "lint"]) == 2
    assert main(["rewards", "diff", good, str(flickering)]) == 0
    assert "hold_steps" in capsys.readouterr().out.splitlines()[-1]
