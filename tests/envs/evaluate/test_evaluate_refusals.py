"""What `evaluate` refuses in one line before it plays, and what of its folder a crash or a neighbour leaves whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tgrpo_envs.__main__ import main
from tgrpo_envs.bridges.policy import Seen
from tgrpo_envs.errors import ConfigError, PolicyError, StateError
from tgrpo_envs.evaluate.play import Finished, play_states
from tgrpo_envs.evaluate.record import (
    EPISODES_NAME,
    RECORD_NAME,
    SETTINGS_NAME,
    EpisodeRecord,
    EvaluationFolder,
    Settings,
)
from tgrpo_envs.sim.snapshot import FloatArray
from tgrpo_envs.tasks import bddl_path, get_task
from tgrpo_envs.vector import LiberoVectorEnv

SETTINGS = Settings(
    policy="module:function",
    suite="libero_object",
    tasks=(0,),
    states=("heldout",),
    num_states=2,
    assets="primitive",
    detail="fast",
    image_size=64,
    replan_steps=1,
    horizon=5,
    versions={},
)
EPISODE = EpisodeRecord(
    suite="libero_object",
    task=0,
    states="heldout",
    state=0,
    success=True,
    end="success",
    control_steps=1,
    progress=1.0,
    stages_done=(),
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fine:act", "--image-size", "0"], "--image-size=0 must be a whole number of at least 1"),
        (["fine:act", "--replan-steps", "0"], "--replan-steps=0 must be a whole number from 1 to 64"),
        (["fine:act", "--replan-steps", "100"], "--replan-steps=100 must be a whole number from 1 to 64"),
        (["fine:act", "--perturb-level", "3"], "--perturb-level says which change of a kind; name it with --perturb"),
        (["fine:act", "--perturb-seed", "0"], "--perturb-seed says which change of a kind; name it with --perturb"),
        (["fine:act", "--perturb-variants", "2"], "--perturb-variants says which change of a kind; name it"),
        (["fine:act", "--horizon", "-3"], "--horizon=-3 must be a whole number of at least 1"),
        (["fine:act", "--tasks"], "--tasks names no task"),
        (["fine:act", "--tasks", "²"], "Unknown libero_object task '²'"),
        (["fine:act", "--bddl", "own.bddl", "--tasks", "3"], "leave --tasks out"),
        (["fine:act", "--bddl", "own.bddl", "--suite", "libero_goal"], "which libero_goal has not"),
        (["fine:act", "--api-key", "x"], "--api-key is for servers of openpi, and the policy is fine:act"),
        (["openpi:ws://h:1", "--unnorm-key", "x"], "--unnorm-key is for servers of openvla and oft"),
        (["openpi:ws://127.0.0.1:9", "--timeout-s", "inf"], "--timeout-s is inf; give seconds above 0, at most 86400"),
        (["openpi:ws://127.0.0.1:9", "--timeout-s", "1e10"], "at most 86400"),
        (["openvla:http://h:99999"], "'http://h:99999' is no address"),
        (["oft:http://h:abc"], "'http://h:abc' is no address"),
        (["oft:http://[::1"], "'http://[::1' is no address"),
        ([":act"], "The policy ':act' was not found"),
        (["leaves:act"], "The policy 'leaves:act' was not found (SystemExit: 3 ("),
        (["..:act"], "The policy '..:act' was not found"),
        (["divides:act"], "(ZeroDivisionError: division by zero ("),
        (["spelt:act"], "(SyntaxError: "),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = {"divides": "1 / 0", "spelt": "def act(:", "leaves": "raise SystemExit(3)", "fine": "def act(seen): ..."}
    for name, text in modules.items():
        Path(f"{name}.py").write_text(text)
    Path("own.bddl").write_text(bddl_path(get_task("libero_object", 0)).read_text())
    given = ["evaluate", *words, "--out", "out", "--assets", "primitive", "--num-states", "51"]
    assert main(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not os.path.exists("out")


def test_an_episode_that_two_processes_played_counts_once(tmp_path: Path) -> None:
    ours = EvaluationFolder(tmp_path, SETTINGS, resume=False)
    theirs = EvaluationFolder(tmp_path, SETTINGS, resume=True)
    ours.add(EPISODE)
    theirs.add(EPISODE.model_copy(update={"success": False}))
    (pooled,) = EvaluationFolder(tmp_path, SETTINGS, resume=True).finish().pooled
    assert (pooled.num_successes, pooled.num_episodes) == (1, 1)


@pytest.mark.parametrize("change", [{"task": 7}, {"state": 2}, {"states": "official"}, {"suite": "libero_goal"}])
def test_an_episode_of_another_evaluation_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    EvaluationFolder(tmp_path, SETTINGS, resume=False).add(EPISODE.model_copy(update=change))
    with pytest.raises(StateError, match="has a line of another evaluation"):
        EvaluationFolder(tmp_path, SETTINGS, resume=True)


def test_episodes_without_their_settings_and_folders_for_files_are_refused(tmp_path: Path) -> None:
    EvaluationFolder(tmp_path / "a", SETTINGS, resume=False).add(EPISODE)
    (tmp_path / "a" / SETTINGS_NAME).unlink()
    with pytest.raises(ConfigError, match=r"episodes without the settings\.json"):
        EvaluationFolder(tmp_path / "a", SETTINGS, resume=False)
    (tmp_path / "b" / SETTINGS_NAME).mkdir(parents=True)
    with pytest.raises(ConfigError, match="is damaged"):
        EvaluationFolder(tmp_path / "b", SETTINGS, resume=True)
    EvaluationFolder(tmp_path / "c", SETTINGS, resume=False)
    (tmp_path / "c" / EPISODES_NAME).mkdir()
    with pytest.raises(StateError, match="cannot be read"):
        EvaluationFolder(tmp_path / "c", SETTINGS, resume=True)


def test_the_record_of_another_command_is_not_replaced(tmp_path: Path) -> None:
    """`tgrpo_trainer eval` writes a file of this name, and no settings beside it."""
    (tmp_path / RECORD_NAME).write_text("theirs")
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"holds the evaluation\.json of another evaluation"):
            EvaluationFolder(tmp_path, SETTINGS, resume=resume)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(RECORD_NAME, "theirs")]


def test_another_unnorm_key_is_another_policy_and_earlier_records_are_gone_on_with(tmp_path: Path) -> None:
    goal = SETTINGS.model_copy(update={"unnorm_key": "libero_goal"})
    EvaluationFolder(tmp_path / "new", goal, resume=False).add(EPISODE)
    for other in (goal.model_copy(update={"unnorm_key": "libero_spatial"}), SETTINGS):
        with pytest.raises(ConfigError, match="begun with unnorm_key libero_goal and cannot go on with"):
            EvaluationFolder(tmp_path / "new", other, resume=True)
    EvaluationFolder(tmp_path / "old", SETTINGS, resume=False).add(EPISODE)
    text = SETTINGS.model_dump_json(exclude={"unnorm_key"})
    (tmp_path / "old" / SETTINGS_NAME).write_text(text)  # as version 0.12.0 wrote it
    assert EvaluationFolder(tmp_path / "old", SETTINGS, resume=True).episodes == [EPISODE]


def test_settings_go_where_no_episode_was_finished_and_stay_where_another_process_has_one(tmp_path: Path) -> None:
    ours = EvaluationFolder(tmp_path, SETTINGS, resume=False)
    (tmp_path / EPISODES_NAME).touch()  # what is left of a line that a crash has torn
    ours.leave_if_empty()
    assert not list(tmp_path.iterdir())
    ours, theirs = (EvaluationFolder(tmp_path, SETTINGS, resume=resume) for resume in (False, True))
    theirs.add(EPISODE)
    ours.leave_if_empty()
    assert EvaluationFolder(tmp_path, SETTINGS, resume=True).episodes == [EPISODE]


def test_other_files_of_a_pack_are_another_evaluation(tmp_path: Path) -> None:
    EvaluationFolder(tmp_path, SETTINGS.model_copy(update={"assets_digest": "a"}), resume=False).add(EPISODE)
    with pytest.raises(ConfigError, match="begun with assets_digest a and cannot go on with b"):
        EvaluationFolder(tmp_path, SETTINGS.model_copy(update={"assets_digest": "b"}), resume=True)


class GoneAfterItsAnswer:
    """A policy whose server is gone when it is told that an episode is over."""

    image_size, replan_steps, detail = 16, 1, "exact"

    def act(self, seen: Seen) -> Sequence[FloatArray]:
        return [np.zeros((1, 7)) for _ in seen.episodes]

    def end(self, episode: int) -> None:
        raise PolicyError(f"gone at the end of {episode}")

    def close(self) -> None:
        """Nothing is open."""


def test_episodes_that_end_together_are_kept_before_the_server_is_told() -> None:
    kept: list[Finished] = []
    env = {"suite": "libero_object", "task": 0, "assets": "primitive", "detail": "off", "horizon": 1}
    with pytest.raises(PolicyError, match="gone at the end of 4"):
        play_states(GoneAfterItsAnswer(), env, "heldout", [4, 9], num_envs=2, first_number=0, finished=kept.append)
    assert [one.record.state for one in kept] == [4, 9]


class Diverges(LiberoVectorEnv):
    """The physics of the first member become unstable at every step."""

    def step(self, actions: Any) -> Any:
        self.episodes.simulator.datas[0].qvel[:] = 1e12
        return super().step(actions)


class Stays(GoneAfterItsAnswer):
    def end(self, episode: int) -> None:
        """Nobody is told."""


def test_physics_that_diverge_at_the_horizon_are_said_to_have_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_envs.evaluate.play.LiberoVectorEnv", Diverges)
    kept: list[Finished] = []
    env = {"suite": "libero_object", "task": 0, "assets": "primitive", "detail": "fast", "horizon": 1}
    play_states(Stays(), env, "heldout", [4, 9], num_envs=2, first_number=0, finished=kept.append)
    assert [(one.record.end, one.record.success) for one in kept] == [("diverged", False), ("horizon", False)]


CHANGES_ITS_TASK = """
from pathlib import Path
import numpy as np

def act(seen):
    file = Path("mine.bddl")
    file.write_text(file.read_text().replace("Fetch me the soup", "Leave the soup"))
    return np.zeros((len(seen["episode"]), 7))
"""


def test_a_task_file_that_changes_meanwhile_ends_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The episodes after the change would be of another task."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("changes.py").write_text(CHANGES_ITS_TASK)
    text = bddl_path(get_task("libero_object", 0)).read_text(encoding="utf-8")
    Path("mine.bddl").write_text(text.replace("Pick the alphabet soup", "Fetch me the soup"))
    given = ["evaluate", "changes:act", "--bddl", "mine.bddl", "--out", "out", "--assets", "primitive"]
    small = ["--num-states", "1", "--horizon", "1", "--image-size", "16", "--detail", "fast"]
    assert main([*given, *small, "--perturb", "wording"]) == 2
    assert "mine.bddl is not what it was when out was begun" in capsys.readouterr().err
    assert len(Path("out", EPISODES_NAME).read_text().splitlines()) == 1
