"""wandb for real, without a network: offline files hold what was logged, and no failure of it ends a run."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import wandb

from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import MissingExtraError
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.metrics import wandb_logger as tracking
from tgrpo_trainer.metrics.metrics import Mean, MetricsWriter, read_metrics
from tgrpo_trainer.metrics.wandb_logger import WandbLog, run_id
from tgrpo_trainer.train import train

KEY = "0" * 40


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No account of the machine's user is touched, and no terminal is asked for one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    yield
    wandb.teardown()  # a process reads these variables once; the next test is another process in this respect


def offline_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def toy(folder: Path, iterations: int) -> TrainConfig:
    return toy_config(folder, iterations=iterations, wandb_project="tests")


def keys_not_in(path: Path, keys: Iterable[str]) -> set[str]:
    wandb.teardown()  # its service process has written all when it has ended
    content = path.read_bytes()
    return {key for key in keys if key.encode() not in content}


def test_offline_files_hold_every_key_and_a_resumed_run_keeps_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for next_iteration in (1, 2):
        writer = MetricsWriter(tmp_path, next_iteration=next_iteration, wandb=WandbLog(tmp_path, toy(tmp_path, 2)))
        writer.write(
            next_iteration, {"rollout/return": Mean(1, 2), f"stage/{next_iteration}": 0.5, "update/kl": math.nan}
        )
        writer.close()
        path = offline_files(tmp_path)[-1]
        assert path.name == f"run-{run_id(tmp_path)}.wandb"
        assert keys_not_in(path, ["iteration", "rollout/return", f"stage/{next_iteration}", "update/kl"]) == set()
        assert keys_not_in(path, ["stage/3"]) == {"stage/3"}
    assert len(offline_files(tmp_path)) == 2
    assert [row["iteration"] for row in read_metrics(tmp_path)] == [1, 2]


@pytest.mark.slow
def test_a_whole_run_logs_offline_what_it_writes_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    folder = tmp_path / "run"
    train(toy(folder, 1))
    logged = {key for row in read_metrics(folder) for key in row}
    assert "rollout/success_rate" in logged and "eval/heldout_greedy/success_rate" in logged
    (path,) = offline_files(folder)
    assert keys_not_in(path, logged) == set()


@pytest.mark.slow
def test_an_unreachable_server_is_said_once_and_the_run_is_logged_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "INIT_TIMEOUT_S", 3.0)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    log = WandbLog(tmp_path, toy(tmp_path, 1))
    log.write(1, {"rollout/return": 0.5})
    log.close()
    wandb.teardown()
    said = capsys.readouterr().out
    assert said.count("wandb failed at starting") == 1 and "wandb sync" in said
    (path,) = offline_files(tmp_path)
    assert b"rollout/return" in path.read_bytes()


@pytest.mark.slow
def test_nobody_logged_in_is_no_question_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    log = WandbLog(tmp_path, toy(tmp_path, 1))
    log.write(1, {"rollout/return": 0.5})
    log.close()
    assert "logging offline" in capsys.readouterr().out
    assert len(offline_files(tmp_path)) == 1


def test_a_failure_while_logging_is_said_once_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    log = WandbLog(tmp_path, toy(tmp_path, 1))
    log._run.finish()  # as if its service had died: logging to a finished run raises
    log.write(1, {"rollout/return": 0.5})
    log.write(2, {"rollout/return": 0.5})
    log.close()
    assert capsys.readouterr().out.count("wandb failed at logging") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "(TimeoutError);"),
        (RuntimeError("\n its service is gone \nsince noon"), "(RuntimeError: its service is gone);"),
    ],
)
def test_an_error_without_a_message_is_named_and_no_end(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(wandb, "init", fails)
    log = WandbLog(tmp_path, toy(tmp_path, 1))
    log.write(1, {"rollout/return": 0.5})
    log.close()
    assert f"wandb failed at starting {said}" in capsys.readouterr().out


def test_a_setting_that_this_wandb_refuses_is_said_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(tracking, "RETRIES", "no number")  # as if another version had no such setting
    log = WandbLog(tmp_path, toy(tmp_path, 1))
    log.write(1, {"rollout/return": 0.5})
    log.close()
    said = capsys.readouterr().out
    assert "wandb failed at starting (ValidationError" in said and "starting offline (ValidationError" in said


def test_a_missing_wandb_is_one_error_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As an import that fails, and as a folder called wandb beside the run, which is imported as an empty package.
    for module in (None, types.ModuleType("wandb")):
        monkeypatch.setitem(sys.modules, "wandb", module)
        with pytest.raises(
            MissingExtraError, match=r"run\.wandb_project needs .* wandb.* pip install 'tgrpo\[wandb\]'"
        ):
            train(toy(tmp_path / "run", 1))
    assert not (tmp_path / "run" / "demonstrations.hdf5").exists()


def test_runs_without_a_project_never_import_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert tracking.start_wandb(tmp_path, toy_config(tmp_path, iterations=1)) is None
