"""The `evaluate` command with policies whose results are known: the expert's actions played again, and none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.policy_server import Replaying, act_server
from tgrpo_envs.__main__ import main
from tgrpo_envs.evaluate.policies import open_policy
from tgrpo_envs.evaluate.record import EpisodeRecord, EvaluationRecord, Settings, summary
from tgrpo_envs.intervals import wilson_interval
from tgrpo_envs.perturbation import KINDS, Perturbation
from tgrpo_envs.recording.play import initial_state, record_episode
from tgrpo_envs.scene import load_scene
from tgrpo_envs.tasks import bddl_path, get_task

ROOT = Path(__file__).resolve().parents[3]
SHARED = ["--tasks", "0", "--assets", "primitive", "--detail", "fast", "--image-size", "16"]
MODULE = """
import numpy as np
EXPERT = np.load({path!r})

def expert(seen):
    assert seen["agentview"].shape[1:] == (16, 16, 3) and seen["state"].shape[1:] == (8,)
    assert len(set(seen["instruction"])) == 1
    return np.stack([EXPERT[step : step + 4] for step in seen["control_step"]])

def still(seen):
    return np.zeros((len(seen["episode"]), 7))

def writes_down_what_it_is_told(seen):
    with open("told.txt", "a", encoding="utf-8") as file:
        file.writelines(words + "\\n" for words in seen["instruction"])
    return still(seen)

def answers_three_steps(seen):
    return np.zeros((len(seen["episode"]), 3, 7))

def fails_at_the_third_question(seen):
    with open("numbers.txt", "a+", encoding="utf-8") as file:
        file.write(str(seen["episode"][0]) + "\\n")
        file.seek(0)
        if len(file.readlines()) == 3:
            raise RuntimeError("out of ideas")
    return still(seen)

def fails_at_the_second_decision(seen):
    if seen["control_step"].max() > 0:
        raise RuntimeError("out of ideas")
    return still(seen)
"""


@pytest.fixture(scope="module")
def expert_SA() -> NDArray[np.float64]:
    """The expert's successful episode from official state 0, and more of the same beyond its end."""
    scene = load_scene(get_task("libero_object", 0), "primitive")
    episode = record_episode(scene, initial_state(scene, "official", index=0, seed=0), "expert", seed=0)
    assert episode.success
    return np.concatenate([episode.actions_TA, np.zeros((400, 7))])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expert_SA: NDArray[np.float64]) -> str:
    np.save(tmp_path / "expert.npy", expert_SA)
    name = f"policies_{tmp_path.name}"  # the process keeps modules by name
    (tmp_path / f"{name}.py").write_text(MODULE.format(path=str(tmp_path / "expert.npy")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def evaluate(policy: str, out: str, *more: str) -> int:
    return main(["evaluate", policy, "--out", out, *SHARED, *more])


def load(out: str) -> EvaluationRecord:
    with open(f"{out}/evaluation.json", encoding="utf-8") as file:
        return EvaluationRecord.model_validate_json(file.read())


def test_the_experts_actions_succeed_where_they_did_whoever_plays_beside(
    folder: str, expert_SA: NDArray[np.float64], capsys: pytest.CaptureFixture[str]
) -> None:
    length = len(expert_SA) - 400
    assert evaluate(f"{folder}:expert", "alone", "--num-states", "1", "--replan-steps", "4") == 0
    assert evaluate(f"{folder}:expert", "many", "--num-states", "5", "--replan-steps", "4", "--num-envs", "3") == 0
    first, *others = load("many").episodes
    assert first == load("alone").episodes[0]
    assert (first.success, first.end, first.control_steps, first.progress) == (True, "success", length, 1.0)
    assert [one.state for one in others] == [1, 2, 3, 4]
    (count,) = load("many").counts
    assert (count.num_episodes, count.num_successes) == (5, 1 + sum(one.success for one in others))
    assert count.interval == wilson_interval(count.num_successes, 5)
    assert "pick up the alphabet soup" in capsys.readouterr().out


def test_an_openpi_server_plays_the_same_episodes(folder: str, expert_SA: NDArray[np.float64]) -> None:
    pytest.importorskip("websockets")
    from tgrpo_envs.bridges.openpi_server import serving_in_a_thread

    questions: list[dict[str, Any]] = []
    options: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "metadata": {}}
    with serving_in_a_thread(lambda: Replaying(expert_SA, 4, questions), **options) as url:
        more = ("--num-states", "3", "--num-envs", "2", "--replan-steps", "4")
        assert evaluate(f"openpi:{url}", "server", *more) == 0
        assert evaluate(f"{folder}:expert", "function", *more) == 0
    assert load("server").episodes == load("function").episodes
    assert len(questions) == sum(-(-one.control_steps // 4) for one in load("server").episodes)
    assert questions[0]["prompt"] == "pick up the alphabet soup and place it in the basket"


def test_failures_are_filmed(folder: str) -> None:
    assert evaluate(f"{folder}:still", "out", "--num-states", "2", "--horizon", "3", "--videos", "1") == 0
    (video,) = os.listdir("out/videos")
    assert video.startswith("libero_object_00_official_state00_horizon.")


def test_failures_that_an_earlier_call_did_not_film_are_counted_and_later_ones_filmed(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"{folder}:still", "out", "--num-states", "3", "--horizon", "3", "--num-envs", "1")
    assert evaluate(*words) == 0
    kept = Path("out/episodes.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    Path("out/episodes.jsonl").write_text("".join(kept[:2]), encoding="utf-8")  # as after a crash
    capsys.readouterr()
    assert evaluate(*words, "--videos", "2", "--resume") == 0
    (video,) = os.listdir("out/videos")
    assert video.startswith("libero_object_00_official_state02_horizon.")
    assert "1 of the videos are missing" in capsys.readouterr().out


def test_a_policy_that_fails_costs_no_finished_episode(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first state is played to its end by a policy that then dies; resumed, only the others are played."""
    common = ("--horizon", "2", "--num-envs", "1")
    answers = iter([b"[0, 0, 0, 0, 0, 0, 1]"] * 2 + [b'"error"'])
    asked = []

    def answer(question: dict[str, Any]) -> bytes:
        asked.append(question)
        return next(answers, b"[0, 0, 0, 0, 0, 0, 1]")

    with act_server(answer) as url:
        assert evaluate(f"openvla:{url}", "out", "--num-states", "3", "--unnorm-key", "goal", *common) == 2
        said = capsys.readouterr().err
        assert "'error' in place of actions" in said
        assert "1 finished episodes are kept in out; go on with --resume" in said
        assert len(said.splitlines()) == 1
        assert evaluate(f"openvla:{url}", "out", "--num-states", "3", *common) == 2
        assert "go on with it by --resume" in capsys.readouterr().err
        assert evaluate(f"openvla:{url}", "out", "--num-states", "2", *common, "--resume") == 2
        assert "begun with num_states 3 and cannot go on with 2" in capsys.readouterr().err
        resumed = (*common, "--num-states", "3", "--resume")
        assert evaluate(f"openvla:{url}", "out", *resumed, "--unnorm-key", "spatial") == 2
        assert "begun with unnorm_key goal and cannot go on with spatial" in capsys.readouterr().err
        assert evaluate(f"openvla:{url}", "out", *resumed, "--unnorm-key", "goal") == 0
    assert {question["unnorm_key"] for question in asked} == {"goal"}
    assert [one.state for one in load("out").episodes] == [0, 1, 2]
    assert len(asked) == 2 + 1 + 2 * 2  # control steps of the first, the error, control steps of the others


def test_a_first_try_that_fails_leaves_the_folder_to_the_next(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--num-states", "1", "--horizon", "6")
    assert evaluate(f"{folder}:answers_three_steps", "out", *more, "--replan-steps", "4") == 2
    said = capsys.readouterr().err
    assert "with C at least 4" in said and "--resume" not in said
    assert evaluate(f"{folder}:answers_three_steps", "out", *more, "--replan-steps", "3") == 0
    assert load("out").settings.replan_steps == 3


def test_an_episode_keeps_its_number_when_others_are_not_played_again(folder: str) -> None:
    """Numbers follow from task, set, kind and row: 0 and 1 as they are, 2 and 3 under other words."""
    more = ("--num-states", "2", "--horizon", "1", "--num-envs", "1", "--perturb", "wording", "--perturb-variants", "2")
    policy = f"{folder}:fails_at_the_third_question"
    assert evaluate(policy, "out", *more) == 2
    assert evaluate(policy, "out", *more, "--resume") == 0
    assert Path("numbers.txt").read_text().split() == ["0", "1", "2", "2", "3"]


def test_a_line_that_a_crash_has_torn_is_played_again(folder: str) -> None:
    more = ("--num-states", "2", "--horizon", "2", "--num-envs", "1")
    assert evaluate(f"{folder}:still", "out", *more) == 0
    whole = load("out")
    with open("out/episodes.jsonl", encoding="utf-8") as file:
        lines = file.read()
    with open("out/episodes.jsonl", "w", encoding="utf-8") as file:
        file.write(lines[:-20])
    assert evaluate(f"{folder}:still", "out", *more, "--resume") == 0
    assert load("out") == whole
    with open("out/episodes.jsonl", encoding="utf-8") as file:
        assert [json.loads(line)["state"] for line in file] == [0, 1]


def test_a_killed_process_has_kept_what_was_finished(folder: str, tmp_path: Path) -> None:
    lines = ["def slow(seen):", "    time.sleep(600 if seen['episode'][0] == 2 else 0)", "    return [[0] * 7]"]
    (tmp_path / "slow_policy.py").write_text("\n".join(["import time", *lines]))
    command = [sys.executable, "-m", "tgrpo_envs", "evaluate", "slow_policy:slow", "--out", "out", *SHARED]
    command += ["--num-states", "3", "--horizon", "2", "--num-envs", "1"]
    with subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}) as child:
        file = tmp_path / "out" / "episodes.jsonl"
        while child.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < 2):
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    assert [json.loads(line)["state"] for line in file.read_text().splitlines()] == [0, 1]


def test_all_perturbations_are_counted_beside_the_task_as_it_is(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--num-states", "2", "--horizon", "1", "--perturb", "all", "--perturb-seed", "4", "--perturb-variants", "2")
    assert evaluate(f"{folder}:writes_down_what_it_is_told", "out", *more) == 0
    told = Path("told.txt").read_text().splitlines()
    usual = "pick up the alphabet soup and place it in the basket"
    assert len(told) == 2 * (1 + len(KINDS)) and told.count(usual) == 2 * len(KINDS)
    record = load("out")
    assert [(one.state, one.perturb) for one in record.episodes] == [
        *((state, None) for state in range(2)),
        *((state, Perturbation(kind, 2, 4 + state)) for kind in KINDS for state in range(2)),
    ]
    assert [(one.perturb, one.num_episodes) for one in record.pooled] == [(kind, 2) for kind in (None, *KINDS)]
    said = capsys.readouterr().out
    assert said.count("0/2") == 1 + 1 + len(KINDS) and "distractors, level 2" in said and "+0.0" in said
    assert evaluate(f"{folder}:still", "out", *more, "--perturb-level", "3", "--resume") == 2
    assert evaluate(f"{folder}:writes_down_what_it_is_told", "out", *more, "--resume") == 0
    assert load("out") == record and len(Path("told.txt").read_text().splitlines()) == len(told)


def test_a_task_of_ones_own_is_evaluated_from_its_held_out_states(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = bddl_path(get_task("libero_object", 0)).read_text(encoding="utf-8")
    (tmp_path / "mine.bddl").write_text(text.replace("Pick the alphabet soup", "Fetch me the soup"))
    more = ("--bddl", "mine.bddl", "--num-states", "2", "--horizon", "1", "--videos", "1")
    assert evaluate(f"{folder}:writes_down_what_it_is_told", "out", *more) == 0
    assert "fetch me the soup" in Path("told.txt").read_text()
    record = load("out")
    assert [(one.suite, one.states, one.state) for one in record.episodes] == [
        ("custom", "heldout", 0),
        ("custom", "heldout", 1),
    ]
    assert record.settings.bddl.startswith("mine.bddl ") and "A task of your own" not in record.note
    assert os.listdir("out/videos")[0].startswith("custom_00_heldout_state00_horizon.")
    assert "fetch me the soup" in capsys.readouterr().out
    assert evaluate(f"{folder}:still", "other", *more, "--states", "official") == 2
    assert "no official initial states" in capsys.readouterr().err
    (tmp_path / "wrong.bddl").write_text(text.replace("milk_1 - milk", "milk_1 - milch"))
    assert evaluate(f"{folder}:still", "other", "--bddl", "wrong.bddl") == 2
    line = text[: text.index("milk_1 - milk")].count("\n") + 1
    assert f"wrong.bddl: line {line}: Unknown category" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("policy", "more", "message"),
    [
        ("nowhere:act", (), "nowhere"),
        ("json:nothing", (), "nothing"),
        ("json", (), "module:function"),
        ("ftp://somewhere", (), "convention"),
        ("ws://somewhere", (), "convention"),
        ("{}:fails_at_the_second_decision", ("--horizon", "2", "--num-states", "1"), "out of ideas (.*, line 33)"),
        ("{}:still", ("--num-states", "51"), "more than the 50 states"),
        ("{}:still", ("--num-envs", "0"), "--num-envs=0"),
        ("{}:still", ("--replan-steps", "2", "--num-states", "1"), "at least 2"),
    ],
)
def test_what_cannot_be_played_is_one_sentence(
    folder: str, capsys: pytest.CaptureFixture[str], policy: str, more: tuple[str, ...], message: str
) -> None:
    assert evaluate(policy.format(folder), "out", *more) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert message.partition("(")[0] in said


def test_counts_are_pooled_over_tasks_and_kept_apart_by_set() -> None:
    settings = Settings(
        policy="m:f",
        suite="libero_goal",
        tasks=(3, 1),
        states=("official", "heldout"),
        num_states=2,
        assets="primitive",
        detail="fast",
        image_size=16,
        replan_steps=1,
        horizon=300,
        versions={},
    )

    def played(task: int, states: str, state: int, success: bool) -> EpisodeRecord:
        return EpisodeRecord(
            suite="libero_goal",
            task=task,
            states=states,
            state=state,
            success=success,
            end="success" if success else "horizon",
            control_steps=9,
            progress=0.0,
            stages_done=(),
        )

    record = summary(
        settings,
        [
            played(1, "official", 1, True),
            played(1, "official", 0, True),
            played(3, "official", 0, False),
            played(3, "heldout", 0, True),
        ],
    )
    assert [(one.task, one.states, one.num_successes, one.num_episodes) for one in record.counts] == [
        (3, "official", 0, 1),
        (3, "heldout", 1, 1),
        (1, "official", 2, 2),
    ]
    assert [(one.states, one.num_successes, one.num_episodes) for one in record.pooled] == [
        ("official", 2, 3),
        ("heldout", 1, 1),
    ]
    assert [(one.task, one.state) for one in record.episodes] == [(3, 0), (3, 0), (1, 0), (1, 1)]
    assert "NOT comparable" in record.note

    published = settings.model_copy(update={"assets": "libero", "detail": "exact", "image_size": 256})
    as_published = "Official states can be compared with published results; held-out states are ours."
    assert summary(published, []).note == as_published
    changed = published.model_copy(update={"perturb": ("camera",)})
    said = "What was played under a perturbation is NOT comparable with the benchmark's."
    assert summary(changed, []).note == f"{as_published} {said}"
    small = published.model_copy(update={"image_size": 16})
    assert summary(small, []).note == "Pictures had 16 pixels a side; OpenVLA's script draws 256."


def test_conventions_have_their_own_pictures_and_plans(folder: str) -> None:
    function = open_policy(f"{folder}:still", timeout_s=1)
    assert (function.image_size, function.replan_steps) == (256, 1)
    oft = open_policy("oft:http://localhost:1", timeout_s=1)
    assert (oft.image_size, oft.replan_steps) == (256, 8)
