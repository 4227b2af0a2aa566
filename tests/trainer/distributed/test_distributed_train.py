"""Whole runs on two gloo ranks: equal to one process's, resumed by either, and ended by whatever ends one of them."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import distributed_c10d

from tests.helpers import toy_env
from tests.helpers.ranks import DEADLINE_S, launch_ranks, on_ranks, send, use_toy, wait
from tests.helpers.runs import assert_close, evaluated, latest, logged, number, tensors
from tests.helpers.toy_env import ToyReach
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import ConfigError, StateError, TgrpoError, TrainingError
from tgrpo_trainer import train as training
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.bc import initial_policy
from tgrpo_trainer.config import EnvConfig, TrainConfig
from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.recipes import RECIPES
from tgrpo_trainer.report.record import LastGroup
from tgrpo_trainer.run.checkpoint import Checkpoint, load_checkpoint
from tgrpo_trainer.train import train


def config_of(folder: Path, iterations: int, tasks: tuple[int, ...] = (0,)) -> TrainConfig:
    config = toy_config(folder, iterations)
    return config.replace(
        env={**config.env.model_dump(), "tasks": tasks},
        rollout={"num_groups": 4, "num_generations": 2},
        objective={"kind": "tgrpo", "beta": 0.05},
        evaluation={"every": 2, "num_heldout": 3, "num_official": 2},
    )


def train_on(folder: Path, iterations: int, world: World | None = None, tasks: tuple[int, ...] = (0,)) -> None:
    use_toy(make_toy_envs)
    toy_env.NEAR_RADIUS, toy_env.GOAL_RADIUS = 0.6, 0.45  # so that some episodes succeed, and end early
    train(config_of(folder, iterations, tasks), world or World())


def three_runs(world: World, root: Path) -> dict[str, Tensor]:
    """A whole run, the end of one that a single process began, and the beginning of one that it will end."""
    train_on(root / "two", 3, world)
    train_on(root / "one_then_two", 3, world)
    train_on(root / "two_then_one", 2, world)
    train_on(root / "two_tasks_on_two", 2, world, tasks=(0, 1, 2))  # the last is task 0 again
    return {}


def assert_close_run(got: Path, expected: Path) -> None:
    """The same episodes, and numbers that differ by rounding only."""
    assert_close(tensors(got), tensors(expected))
    for mine, other in zip(logged(got), logged(expected), strict=True):
        assert mine.keys() == other.keys()
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-5)
    assert evaluated(got) == evaluated(expected)
    ours, theirs = LastGroup.load(got), LastGroup.load(expected)
    assert ours is not None and theirs is not None
    assert (ours.task, ours.state_seed) == (theirs.task, theirs.state_seed)
    assert np.array_equal(ours.best.actions_TCA, theirs.best.actions_TCA)


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `train_on` changes in this process, as it was."""
    for module, names in (
        ("tgrpo_trainer.train", ("make_envs", "write_report", "_write_videos")),
        ("tests.helpers.toy_env", ("NEAR_RADIUS", "GOAL_RADIUS")),
    ):
        for name in names:
            monkeypatch.setattr(f"{module}.{name}", getattr(sys.modules[module], name))


@pytest.mark.usefixtures("restored")
def test_a_run_is_the_same_on_one_process_and_on_two_ranks(tmp_path: Path) -> None:
    train_on(tmp_path / "one", 3)
    train_on(tmp_path / "one_then_two", 2)
    on_ranks(three_runs, tmp_path, folder=tmp_path)
    train_on(tmp_path / "two_then_one", 3)
    for name in ("two", "one_then_two", "two_then_one"):
        assert_close_run(tmp_path / name, tmp_path / "one")
    train_on(tmp_path / "two_tasks", 2, tasks=(0, 1, 2))  # four groups: one task has two, on one rank or on both
    assert_close_run(tmp_path / "two_tasks_on_two", tmp_path / "two_tasks")
    assert "rollout/success_rate/task_01" in logged(tmp_path / "two_tasks")[1]
    steps = [row for row in logged(tmp_path / "two") if "update/optimiser_steps" in row]
    assert sum(number(row, "update/optimiser_steps") > 0 for row in steps) >= 2
    lengths = [number(row, "rollout/control_steps") for row in steps]
    assert min(lengths) < 24  # episodes, and so ranks, did not end together
    files = sorted(path.name for path in (tmp_path / "two" / "last" / "iteration_000003" / "optimizer").iterdir())
    assert files == ["rank_00000.safetensors", "rank_00001.safetensors"]
    assert (tmp_path / "stderr_1").read_text() == ""  # only rank 0 speaks


def train_on_what_is_kept(folder: Path, world: World | None = None) -> None:
    use_toy(make_toy_envs)
    toy_env.NEAR_RADIUS, toy_env.GOAL_RADIUS = 0.6, 0.45
    config = config_of(folder, 2)
    chosen = {"filter": "0.1..0.9", "min_groups": 3, "max_rounds": 3}
    config = config.replace(
        objective={"kind": "stage_return", "trajectory_weight": 0.3},
        rollout={**config.rollout.model_dump(), **chosen},
        update={**config.update.model_dump(), "gradient_budget": 0.5},
    )
    train(config, world or World())


def kept_on_ranks(world: World, root: Path) -> dict[str, Tensor]:
    train_on_what_is_kept(root / "two", world)
    return {}


@pytest.mark.usefixtures("restored")
def test_ranks_play_again_and_choose_decisions_as_one_process_does(tmp_path: Path) -> None:
    train_on_what_is_kept(tmp_path / "one")
    on_ranks(kept_on_ranks, tmp_path, folder=tmp_path)
    assert_close_run(tmp_path / "two", tmp_path / "one")
    rows = [row for row in logged(tmp_path / "two") if "rollout/rounds" in row]
    assert max(number(row, "rollout/rounds") for row in rows) > 1
    assert max(number(row, "update/optimiser_steps") for row in rows) > 0


class Fickle(ToyReach):
    """Fails in the third iteration, on the rank that is told to (four resets are the first evaluation's); slow, so that
    a signal finds it playing."""

    fails = False
    resets = 0

    def reset(self, **kwargs: Any) -> Any:
        self.resets += 1
        return super().reset(**kwargs)

    def step(self, actions: NDArray[Any]) -> Any:
        time.sleep(0.01)
        if self.fails and self.resets > 6:
            raise StateError("the physics of this rank has had enough")
        return super().step(actions)


def fickle_command(folder: Path, failing_rank: int) -> None:
    """The command line on a toy that fails on one rank."""

    def make_envs(config: EnvConfig, num_envs: int) -> Fickle:
        envs = Fickle(num_envs, action_chunk=config.action_chunk, horizon=config.horizon)
        envs.fails = os.environ["RANK"] == str(failing_rank)
        return envs

    use_toy(make_envs)
    config = config_of(folder, 1000)
    RECIPES["toy"] = lambda: config.replace(evaluation={**config.evaluation.model_dump(), "every": 1000})
    sys.exit(main(["train", "--recipe", "toy"]))


def saved(folder: Path) -> Path:
    return latest(folder / "last")


def goes_on(folder: Path) -> bool:
    """Whether a single process can go on from what is there."""
    done = load_checkpoint(saved(folder)).iteration
    train_on(folder, done + 1)
    return load_checkpoint(saved(folder)).iteration == done + 1


@pytest.mark.usefixtures("restored")
def test_an_error_in_one_rank_s_rollout_ends_both_with_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    codes = wait(launch_ranks(fickle_command, folder, 1, folder=tmp_path))
    assert codes == [2, 2]
    first, second = ((tmp_path / f"stderr_{rank}").read_text() for rank in range(2))
    assert second == "error on rank 1: the physics of this rank has had enough\n"
    assert "error on rank 0: Stopped because of rank 1: the physics of this rank has had enough\n" in first
    assert "Traceback" not in first
    assert saved(folder).name == "iteration_000002" and goes_on(folder)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_rank_that_is_killed_ends_the_other_with_one_sentence(tmp_path: Path, victim: int) -> None:
    folder = tmp_path / "run"
    processes = launch_ranks(fickle_command, folder, -1, folder=tmp_path)
    limit = time.monotonic() + DEADLINE_S
    while not (folder / "last" / "iteration_000001").is_dir():
        assert time.monotonic() < limit and all(process.is_alive() for process in processes)
        time.sleep(0.02)
    send(processes[victim], signal.SIGKILL)
    codes = wait(processes)
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == 2
    said = (tmp_path / f"stderr_{1 - victim}").read_text()
    assert f"error on rank {1 - victim}: Another rank has ended, or cannot be reached" in said
    assert "Traceback" not in said
    assert goes_on(folder)


PATIENCE_S = 6.0
"""How long ranks wait for one another here; a sign of life comes each second, and may be late on a busy machine."""
ALONE_S = 7.0
"""How long rank 0 downloads, and then records."""


def begin_slowly(world: World, folder: Path) -> str:
    """A start in which rank 0 alone is busy for longer than ranks wait, twice, and fails in the end; what is said."""

    def download(config: TrainConfig) -> TrainConfig:
        time.sleep(ALONE_S)
        return config

    def record(*_: object) -> None:
        time.sleep(ALONE_S)
        raise TrainingError("the expert is tired")

    use_toy(make_toy_envs)
    training.pin_checkpoint = download  # type: ignore[attr-defined]
    initial_policy._record_demonstrations = record  # type: ignore[assignment]
    distributed_c10d._set_pg_timeout(timedelta(seconds=PATIENCE_S))
    try:
        train(toy_config(folder, 1).replace(sft={"max_steps": 1}), world)
    except TgrpoError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_ranks_wait_for_what_the_first_does_alone_and_hear_how_it_ends(tmp_path: Path) -> None:
    first, second = on_ranks(begin_slowly, tmp_path / "run", folder=tmp_path)
    assert first == "TrainingError: the expert is tired"
    assert second == "RankError: Stopped because of rank 0: the expert is tired"


def late_command(folder: Path, silent: bool) -> None:
    """The command line; its first rank dies while it downloads, or is busy elsewhere for longer than ranks wait."""

    def die(_: TrainConfig) -> TrainConfig:
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def dawdle(*arguments: Any) -> Checkpoint:
        distributed_c10d._set_pg_timeout(timedelta(seconds=PATIENCE_S))
        if os.environ["RANK"] == "0":
            time.sleep(ALONE_S)
        return load_checkpoint(*arguments)

    use_toy(make_toy_envs)
    training.load_checkpoint = dawdle  # type: ignore[attr-defined, assignment]
    if not silent:
        training.pin_checkpoint = die  # type: ignore[attr-defined, assignment]
    RECIPES["toy"] = lambda: toy_config(folder, 1)
    sys.exit(main(["train", "--recipe", "toy"]))


@pytest.mark.parametrize(
    ("silent", "said"),
    [
        (False, "Another rank has ended, or cannot be reached, so this one stops too; its own message says why."),
        (True, "Another rank does not answer: it is cut off, or busy for longer than ranks wait for one another ("),
    ],
)
def test_a_first_rank_that_is_gone_or_silent_is_told_apart(silent: bool, said: str, tmp_path: Path) -> None:
    codes = wait(launch_ranks(late_command, tmp_path / "run", silent, folder=tmp_path))
    assert codes == ([2, 2] if silent else [-signal.SIGKILL, 2])
    message = (tmp_path / "stderr_1").read_text()
    assert message.startswith(f"error on rank 1: {said}")
    assert message.count("Another rank") == 1
    assert ("--run.rank-timeout-minutes" in message) == silent


def test_groups_that_ranks_cannot_share_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_groups is 4, which 3 ranks cannot share evenly"):
        train(config_of(tmp_path / "run", 1), World(rank=0, size=3))
    assert not (tmp_path / "run").exists()
