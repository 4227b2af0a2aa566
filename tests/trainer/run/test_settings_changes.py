"""What a run was resumed with that was otherwise before leaves a trace, with the iteration it holds from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.ranks import use_toy
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer import recipes
from tgrpo_trainer import train as training
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.recipes import smoke
from tgrpo_trainer.run.layout import CONFIG_NAME, EARLIER_NAME
from tgrpo_trainer.run.settings_changes import keep_earlier_settings, settings_changes

RATE = "update.learning_rate"


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def with_rate(rate: float, **run: Any) -> TrainConfig:
    config = smoke()
    update = {**config.update.model_dump(), "learning_rate": rate}
    return config.replace(update=update, run={**config.run.model_dump(), **run})


def resume(folder: Path, wanted: TrainConfig) -> None:
    """As a start does it."""
    keep_earlier_settings(folder, wanted)
    wanted.save(folder / CONFIG_NAME)


def go_on(folder: Path, *, begun: int = 0, done: int) -> None:
    """Checkpoints as a run leaves them, up to an iteration; those after `begun` are new."""
    for path in (folder / "last").glob("*"):
        path.rmdir()
    for iteration in range(begun, done + 1):
        (folder / "last" / f"iteration_{iteration:06d}").mkdir(parents=True)


def rates(folder: Path) -> list[tuple[int, Any, Any]]:
    """First iteration, learning rate before and after, of every change; nothing else may have changed."""
    changes = settings_changes(folder, TrainConfig.load(folder / CONFIG_NAME))
    assert all(set(change.values) == {RATE} for change in changes)
    return [(change.iteration, *change.values[RATE]) for change in changes]


def test_each_change_is_known_with_the_iteration_it_holds_from() -> None:
    folder = Path("run")
    resume(folder, with_rate(0.1))
    go_on(folder, done=2)
    resume(folder, with_rate(0.2))
    go_on(folder, done=5)
    resume(folder, with_rate(0.2, max_minutes=9.0, device="cpu"))  # no setting of the experiment
    go_on(folder, done=7)
    resume(folder, with_rate(0.1))
    assert rates(folder) == [(3, 0.1, 0.2), (8, 0.2, 0.1)]


def test_what_was_changed_before_anything_was_learnt_is_no_change() -> None:
    folder = Path("run")
    resume(folder, with_rate(0.1))
    resume(folder, with_rate(0.2))
    go_on(folder, done=0)  # cloned
    resume(folder, with_rate(0.3))
    assert rates(folder) == [] and not (folder / EARLIER_NAME).exists()
    (folder / "evaluations").mkdir()  # and measured
    resume(folder, with_rate(0.4))
    assert rates(folder) == [(1, 0.3, 0.4)]


def test_settings_that_no_iteration_was_done_with_leave_no_trace() -> None:
    folder = Path("run")
    resume(folder, with_rate(0.1))
    go_on(folder, done=2)
    for rate in (0.2, 0.3):  # interrupted at once
        resume(folder, with_rate(rate))
    assert rates(folder) == [(3, 0.1, 0.3)]
    resume(folder, with_rate(0.1))
    assert rates(folder) == []
    keep_earlier_settings(folder, with_rate(0.5))  # and the start fails, so that settings stay as they were
    go_on(folder, done=4)
    assert rates(folder) == []
    resume(folder, with_rate(0.2))
    assert rates(folder) == [(5, 0.1, 0.2)]


def test_iterations_that_are_done_again_are_done_with_the_new_settings() -> None:
    folder = Path("run")
    resume(folder, with_rate(0.1))
    go_on(folder, done=4)
    resume(folder, with_rate(0.2))
    go_on(folder, begun=3, done=6)
    assert rates(folder) == [(5, 0.1, 0.2)]
    go_on(folder, done=3)  # its later checkpoints were taken away
    resume(folder, with_rate(0.2))
    assert rates(folder) == [(4, 0.1, 0.2)]


def test_damaged_earlier_settings_are_named_with_a_cure() -> None:
    resume(Path("run"), with_rate(0.1))
    path = Path("run", EARLIER_NAME, "iteration_000002.json")
    path.parent.mkdir()
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"iteration_000002\.json does not hold.*so delete run/earlier_settings/"):
        rates(Path("run"))


def test_a_resumed_run_keeps_what_it_was_done_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("make_envs", "write_report", "_write_videos"):
        monkeypatch.setattr(training, name, getattr(training, name))
    use_toy(make_toy_envs)
    monkeypatch.setitem(recipes.RECIPES, "toy", lambda: toy_config(Path("runs/run"), 1))
    assert main(["train", "--recipe", "toy"]) == 0
    assert main(["train", "--resume", "runs/run"]) == 0
    assert not Path("runs/run", EARLIER_NAME).exists()
    assert main(["train", "--resume", "runs/run", "--run.iterations", "2", "--objective.kind", "grpo"]) == 0
    (change,) = settings_changes(Path("runs/run"), TrainConfig.load(Path("runs/run", CONFIG_NAME)))
    assert change.iteration == 2
    assert change.values["objective.kind"] == ("tgrpo", "grpo") and change.values["run.iterations"] == (1, 2)
    # Without its settings the folder is no other run's.
    Path("runs/run", CONFIG_NAME).unlink()
    for name in ("last", "checkpoints", "evaluations"):
        Path("runs/run", name).rename(name)
    capsys.readouterr()
    assert main(["train", "--recipe", "toy"]) == 2
    assert "runs/run holds earlier_settings of another run" in capsys.readouterr().err
