"""Unusual settings of `eval`, `serve`, `export` and `memory`: refused before any work, and what is counted is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tgrpo_trainer.evaluation.command
from tests.helpers.toy_env import ToyReach
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.errors import ConfigError, MissingExtraError
from tgrpo_envs.scene.states import HELDOUT_COUNT
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.config import EnvConfig, EvaluationConfig
from tgrpo_trainer.evaluation.record import EvaluationFile
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.run.checkpoint import save_checkpoint


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on the toy task with a policy of its own, in `run`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tgrpo_trainer.evaluation.command.make_envs", make_toy_envs)
    toy_config(Path("run"), 1).save(Path("run/config.json"))
    policy = NanoPolicy(NanoConfig(image_size=16, action_chunk=2, num_bins=5))
    save_checkpoint(Path("run/last"), iteration=0, policy=policy, state={"elapsed_s": 0.0})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval", "run", "--tasks", "²"], "Unknown libero_object task '²'"),
        (["eval", "run", "--temperature", "inf"], "--temperature is inf; give a number of at least 1e-06"),
        (["eval", "run", "--temperature", "1e-40"], "--temperature is 1e-40; give"),
        (["eval", "run", "--perturb-level", "3"], "name it with --perturb KIND"),
        (["eval", "run", "--perturb-seed", "0"], "name it with --perturb KIND"),
        (["eval", "run", "--perturb", "none", "--perturb-level", "3"], "name it with --perturb KIND"),
        (
            ["serve", "run", "--smolvla.noise-level", "2"],
            "--smolvla.* says how a published policy of that kind",
        ),
        (["serve", "run", "--openvla.jpeg"], "--openvla.* says how"),
        (["serve", "run", "--replan-steps", "0"], "--replan-steps is 0; give 1 to 2"),
        (["serve", "run", "--port", "99999"], "127.0.0.1:99999 cannot be listened on"),
        (["serve", "run", "--port", "-1"], "127.0.0.1:-1 cannot be listened on"),
        (["export", "run", "out", "--public"], "say where to with --push OWNER/NAME"),
        (["memory", "--num-gpus", "0"], "--num-gpus is 0; give numbers from 1 on"),
        (["memory", "--num-gpus"], "--num-gpus is empty"),
        (["eval", "x" * 300], "File name too long"),
        (["report", "x" * 300], "File name too long"),
    ],
)
def test_it_is_refused_in_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    written = capsys.readouterr().err
    assert said in written and "Traceback" not in written
    assert not Path("out").exists()


def test_too_many_states_of_one_set_are_refused_before_the_other_is_played(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There are 40 held-out states here, which are played last."""
    made: list[ToyReach] = []

    def make(config: EnvConfig, num_envs: int) -> ToyReach:
        made.append(make_toy_envs(config, num_envs))
        return made[-1]

    monkeypatch.setattr("tgrpo_trainer.evaluation.command.make_envs", make)
    monkeypatch.setattr("tgrpo_trainer.evaluation.command.state_sets", lambda env: ("official", "heldout"))
    assert main(["eval", "run", "--num-states", "45"]) == 2
    assert "rows 0 to 39 of the heldout states; 40 is not one of them" in capsys.readouterr().err
    assert [one.live_counts for one in made] == [[]]


def test_a_run_cannot_ask_for_more_held_out_states_than_there_are() -> None:
    assert EvaluationConfig(num_heldout=HELDOUT_COUNT).num_heldout == HELDOUT_COUNT
    with pytest.raises(ConfigError, match=f"num_heldout={HELDOUT_COUNT + 1}"):
        EvaluationConfig(num_heldout=HELDOUT_COUNT + 1)


def test_what_was_counted_is_kept_when_videos_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> Any:
        raise MissingExtraError("no encoder")

    monkeypatch.setattr(tgrpo_trainer.evaluation.command, "write_failures", fail)
    few = ["--states", "heldout", "--mode", "greedy", "--num-states", "3", "--horizon", "2"]
    assert main(["eval", "run", *few, "--videos", "1", "--out", "out"]) == 2
    assert "no encoder" in capsys.readouterr().err
    file = EvaluationFile.load(Path("out/evaluation.json"))
    assert [(one.num_successes, one.num_episodes) for one in file.evaluations] == [(0, 3)]
    assert file.videos == ()


SEVERAL = ["eval", "run", "--tasks", "0", "3", "5", "--num-states", "4", "--horizon", "8", "--videos", "1"]


def test_tasks_that_are_over_are_kept_when_a_later_one_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(config: EnvConfig, num_envs: int) -> ToyReach:
        if config.task == 5:
            raise KeyboardInterrupt
        return make_toy_envs(config, num_envs)

    with monkeypatch.context() as patch:
        patch.setattr("tgrpo_trainer.evaluation.command.make_envs", make)
        assert main([*SEVERAL, "--out", "out"]) == 130
    kept = Path("out/finished_tasks.json")
    assert [file.name for file in Path("out").iterdir()] == [kept.name]
    said = capsys.readouterr()
    assert f"The tasks that were finished are kept in {kept}." in said.out + said.err
    first = EvaluationFile.load(kept)
    assert first.note.startswith("NOT finished: 2 of 3 tasks. Asset pack toy: ")
    assert (first.pooled, first.videos) == ((), ())

    assert main([*SEVERAL, "--out", "out"]) == 2
    assert "out holds the tasks of an evaluation that was not finished; move finished_tasks" in capsys.readouterr().err
    kept.unlink()
    assert main([*SEVERAL, "--out", "out"]) == 0
    assert sorted(file.name for file in Path("out").iterdir()) == ["evaluation.json", "videos"]
    whole = EvaluationFile.load(Path("out/evaluation.json"))
    assert whole.evaluations[: len(first.evaluations)] == first.evaluations
    assert [one.env.task for one in whole.evaluations] == [task for task in (0, 3, 5) for _ in range(4)]


def test_a_run_is_no_policy_to_start_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--recipe", "smoke", "--policy.checkpoint", "run", "--env.image-size", "16"]) == 2
    assert "run/config.json is a run's; give one of its policies" in capsys.readouterr().err
    Path("run/last/iteration_000000/policy/config.json").write_text("{}")
    assert main(["eval", "run/last/iteration_000000/policy"]) == 2
    assert "names no kind of policy; give the folder of one" in capsys.readouterr().err
