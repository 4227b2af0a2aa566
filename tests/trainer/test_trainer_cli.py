"""The command line: recipes, overrides, resuming, and mistakes that are answered in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import ROOT
from tests.helpers.synthetic_run import write_synthetic_run
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.__main__ import main, parse_run
from tgrpo_trainer.recipes import get_recipe


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_no_arguments_are_the_quickstart() -> None:
    assert parse_run("train", []) == get_recipe("quickstart")


def test_overrides_change_single_settings() -> None:
    config = parse_run("train", ["--recipe", "smoke", "--update.learning-rate", "0.5", "--env.task", "6"])
    assert (config.update.learning_rate, config.env.task) == (0.5, 6)
    assert config.replace(update=get_recipe("smoke").update, env=get_recipe("smoke").env) == get_recipe("smoke")


@pytest.mark.parametrize(
    ("given", "tasks"),
    [(["--env.tasks", "0", "3"], (0, 3)), (["--env.tasks", "all"], ("all",)), (["--env.task=6"], (6,))],
)
def test_tasks_are_a_list_and_one_task_has_its_old_option(given: list[str], tasks: tuple[int | str, ...]) -> None:
    assert parse_run("train", ["--recipe", "smoke", *given, "--run.seed", "3"]).env.tasks == tasks


def test_resuming_takes_the_settings_of_the_run_wherever_it_lies_now(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere" / "moved"
    folder.mkdir(parents=True)
    get_recipe("smoke").save(folder / "config.json")
    config = parse_run("train", ["--resume", str(folder), "--run.iterations", "7"])
    assert config.run.path == folder
    assert (config.run.iterations, config.rollout) == (7, get_recipe("smoke").rollout)


def test_a_taken_folder_is_not_overwritten() -> None:
    config = get_recipe("quickstart")
    config.run.path.mkdir(parents=True)
    config.save(config.run.path / "config.json")
    with pytest.raises(ConfigError, match="--resume runs/quickstart") as caught:
        parse_run("train", [])
    assert "--run.name" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "Did you mean 'train'"),
        (["--recipe", "quikstart"], "Did you mean 'quickstart'"),
        (["train", "--recipe", "smoke", "--resume", "runs/x"], "only one of them"),
        (["train", "--tgrpo.beta", "0"], "--tgrpo.beta is of version 0.2; use --objective. options"),
        (["train", "--resume", "runs/nothing"], "not the folder of a run"),
        (["report", "runs/nothing"], "not the folder of a run"),
        (["eval", "runs/nothing"], "neither a run's folder nor one of its checkpoints"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert "Traceback" not in errors


def test_help_names_commands_recipes_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert all(word in overview for word in ("train", "sft", "eval", "report", "quickstart", "smoke"))
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--resume FOLDER" in text
    assert "--update.learning-rate FLOAT Peak learning rate. (default: 0.0003)" in text


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, tgrpo_trainer.__main__ as cli; cli.main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("torch", ["tgrpo_trainer"], "train"),
        ("torch", ["tgrpo_trainer", "sft"], "train"),
        ("h5py", ["tgrpo_envs", "demos", "--out", "demos.hdf5"], "demos"),
        ("openai", ["tgrpo_envs", "rewards", "generate", "--model", "m", "--task", "0"], "llm"),
    ],
)
def test_a_missing_package_names_its_extra(package: str, arguments: list[str], extra: str, tmp_path: Path) -> None:
    code = (
        "import runpy, sys; sys.modules[sys.argv[1]] = None; del sys.argv[:2]; "
        "runpy.run_module(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, package, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, f"pip install 'tgrpo[{extra}]'" in result.stderr) == (2, True), result.stderr
    assert "Traceback" not in result.stderr
    assert not any(tmp_path.iterdir())


def test_report_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic_run(tmp_path / "runs" / "quickstart")
    assert main(["report", "runs/quickstart"]) == 0
    assert "runs/quickstart/report.html" in capsys.readouterr().out
    assert (tmp_path / "runs/quickstart/report.html").is_file()
