"""A run's folder: none is left by a start that fails, an interrupted one can be gone on with, a full one is named."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from tests.helpers.processes import alive, children_of, started, wait_until
from tests.helpers.ranks import use_toy
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer import recipes
from tgrpo_trainer import train as training
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.bc import initial_policy
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy
from tgrpo_trainer.run.layout import undone_if_it_fails

SMOKE = ["--recipe", "smoke", "--env.assets", "primitive", "--run.name", "x"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--env.task", "no_such_task"],
        ["--env.assets", "no_such_pack"],
        ["--env.reward", "no_such_reward"],
        ["--run.device", "no_such_device"],
        ["--policy.checkpoint", "/nowhere"],
        ["--sft.demonstrations", "/nowhere"],
        ["--sft.demonstrations", "/nowhere", "--sft.max-steps", "0"],
        ["--update.optimizer", "adamw_stochastic"],
    ],
)
@pytest.mark.parametrize("command", ["train", "sft"])
def test_a_start_that_fails_on_a_setting_leaves_no_folder(
    command: str, wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs"
    assert main([command, *SMOKE, "--run.folder", str(folder), *wrong]) == 2
    assert capsys.readouterr().err.count("error:") == 1
    assert not folder.exists()


def test_demonstrations_that_nothing_would_be_learnt_from_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_toy_in(monkeypatch)
    monkeypatch.setitem(recipes.RECIPES, "toy", lambda: toy_config(tmp_path / "run", 1))
    assert main(["train", "--recipe", "toy", "--sft.demonstrations", "mine.hdf5"]) == 2
    assert "sft.max_steps is 0, so nothing would be learnt from sft.demonstrations mine.hdf5" in capsys.readouterr().err


def test_a_run_that_is_interrupted_while_its_checkpoint_downloads_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_toy_in(monkeypatch)
    folder = tmp_path / "run"
    monkeypatch.setitem(recipes.RECIPES, "toy", lambda: toy_config(folder, 1))

    def hang(_: TrainConfig) -> TrainConfig:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(training, "pin_checkpoint", hang)
        with pytest.raises(SystemExit) as ended:
            main(["train", "--recipe", "toy"])
    assert ended.value.code == 143
    assert f"Go on with: python -m tgrpo_trainer train --resume {folder}" in capsys.readouterr().err
    assert main(["train", "--resume", str(folder)]) == 0


@pytest.mark.parametrize("command", ["train", "sft"])
def test_a_start_for_which_the_memory_does_not_suffice_says_nothing_of_going_on(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_toy_in(monkeypatch)
    folder = tmp_path / "run"
    monkeypatch.setitem(recipes.RECIPES, "toy", lambda: toy_config(folder, 1))

    def run_out(*_: object) -> ShardedPolicy:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(initial_policy, "ShardedPolicy", run_out)
    assert main([command, "--recipe", "toy"]) == 2
    said = capsys.readouterr().err
    assert "error: The GPU's memory ran out before anything was finished; start the run again" in said
    assert "--resume" not in said
    assert not folder.exists()


def start_and_fail(folder: Path) -> None:
    with undone_if_it_fails(folder):
        (folder / "config.json").write_text("{}")
        (folder / "last").mkdir()
        (folder / "last" / "x").write_text("")
        raise ConfigError("no")


def test_what_lay_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError):
        start_and_fail(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_resuming_with_a_wrong_setting_keeps_the_right_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_toy_in(monkeypatch)
    folder = tmp_path / "run"
    monkeypatch.setitem(recipes.RECIPES, "toy", lambda: toy_config(folder, 1))
    assert main(["sft", "--recipe", "toy"]) == 0
    before = (folder / "config.json").read_bytes()
    (folder / "last" / "iteration_000000" / "manifest.json").write_text("{}")
    assert main(["train", "--resume", str(folder), "--run.iterations", "99"]) == 2
    assert "manifest" in capsys.readouterr().err
    assert (folder / "config.json").read_bytes() == before
    assert TrainConfig.load(folder / "config.json").run.iterations == 1
    assert (folder / "last" / "iteration_000000").is_dir()


@pytest.mark.parametrize("in_the_way", ["runs", "runs/run"])
def test_a_folder_that_cannot_be_written_names_the_setting(
    in_the_way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_toy_in(monkeypatch)
    (tmp_path / in_the_way).parent.mkdir(exist_ok=True)
    (tmp_path / in_the_way).write_text("")
    monkeypatch.setitem(recipes.RECIPES, "toy", lambda: toy_config(tmp_path / "runs" / "run", 1))
    assert main(["train", "--recipe", "toy"]) == 2
    said = capsys.readouterr().err
    assert f"({tmp_path}/{in_the_way} is a file where a folder is needed)" in said
    assert "--run.folder" in said


@pytest.mark.parametrize(("command", "number", "code"), [("train", signal.SIGTERM, 143), ("sft", signal.SIGINT, 130)])
def test_a_signal_before_the_first_iteration_ends_all_processes(
    command: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """While the first scene is built: by a child of the process that records demonstrations, the run's own child."""
    arguments = ["-m", "tgrpo_trainer", command, *SMOKE, "--run.folder", "runs"]
    with started(*arguments, folder=tmp_path, TGRPO_CACHE=str(tmp_path / "cache")) as process:

        def builders() -> list[int]:
            return [pid for child in children_of(process.pid) for pid in children_of(child, "tgrpo_envs.scene.build")]

        wait_until(lambda: builders() != [], process)
        children = [*children_of(process.pid), *builders()]
        os.kill(process.pid, number)
        assert process.wait() == code
    said = (tmp_path / "stderr").read_text()
    assert "Traceback" not in said
    assert said.count("Interrupted") == 1
    assert "no iteration has finished. Go on with: python -m tgrpo_trainer train --resume runs/x" in said
    assert len(children) == 2
    assert not any(alive(pid) for pid in children)
    assert [path.name for path in (tmp_path / "runs" / "x").iterdir()] == ["config.json"]


def use_toy_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy task in this process, until the test ends."""
    for name in ("make_envs", "write_report", "_write_videos"):
        monkeypatch.setattr(training, name, getattr(training, name))
    use_toy(make_toy_envs)
