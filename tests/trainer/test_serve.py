"""Our policies behind openpi's protocol: the decisions of `eval`, questions that make no sense, the command itself."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("websockets")

from tests.helpers.processes import DEADLINE_S, started, wait_until
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_envs.__main__ import main as envs_main
from tgrpo_envs.bridges.openpi import OpenPiPolicy
from tgrpo_envs.bridges.openpi_server import serving_in_a_thread
from tgrpo_envs.errors import ConfigError, PolicyError
from tgrpo_envs.evaluate.record import EvaluationRecord
from tgrpo_trainer.evaluation.evaluate import evaluate
from tgrpo_trainer.policy.nano.policy import NanoConfig, NanoPolicy
from tgrpo_trainer.rollout.environment import make_envs
from tgrpo_trainer.rollout.rollout import Rollout
from tgrpo_trainer.serve import PICTURES, Player, ServedPolicy
from tgrpo_trainer.train import train

STATES = 3
HORIZON = 24


@pytest.fixture(scope="module")
def policy() -> NanoPolicy:
    torch.manual_seed(0)
    return NanoPolicy(NanoConfig(image_size=16, action_chunk=4, num_bins=9))


def question(**changes: Any) -> dict[str, Any]:
    picture = np.zeros((32, 32, 3), np.uint8)
    state = np.array([-0.2, 0.0, 1.0, 3.1, 0.0, 0.0, 0.04, -0.04])
    return {**dict.fromkeys(PICTURES.values(), picture), "observation/state": state, "prompt": "do it", **changes}


def test_evaluate_finds_with_serve_what_eval_finds(policy: NanoPolicy, tmp_path: Path) -> None:
    """Decision for decision: pictures there and back, proprioception out of LIBERO's state, the gripper's command."""
    env = toy_config(tmp_path, 1).env.model_copy(
        update={"assets": "primitive", "image_size": 16, "action_chunk": 4, "horizon": HORIZON}
    )
    envs = make_envs(env, STATES)
    played: dict[int, NDArray[np.float32]] = {}

    def keep(state: int, member: Rollout) -> None:
        played[state] = member.actions_TCA.numpy()

    expected = evaluate(
        policy,
        envs,
        env=env,
        states="heldout",
        state_ids=range(STATES),
        mode="greedy",
        on_episode=keep,
    )
    envs.close()
    served = ServedPolicy(policy)
    answers: dict[int, list[NDArray[np.float32]]] = {}

    def player() -> Player:
        one, number = served.player(), len(answers)
        answers[number] = []
        act = one.act

        def act_and_keep(question: Mapping[str, Any]) -> NDArray[np.float32]:
            answers[number].append(act(question))
            return answers[number][-1]

        one.act = act_and_keep  # type: ignore[method-assign]
        return one

    arguments = ["--suite", "libero_object", "--tasks", "0", "--states", "heldout", "--num-states", str(STATES)]
    arguments += ["--assets", "primitive", "--horizon", str(HORIZON), "--num-envs", "2", "--out", str(tmp_path / "out")]
    with serving_in_a_thread(player, host="127.0.0.1", port=0, metadata=served.metadata) as url:
        assert envs_main(["evaluate", f"openpi:{url}", *arguments]) == 0
    found = EvaluationRecord.model_validate_json((tmp_path / "out" / "evaluation.json").read_bytes())
    assert found.settings.detail == "fast"
    assert [(one.state, one.success, one.control_steps) for one in found.episodes] == [
        (one.state, one.success, one.control_steps) for one in expected.episodes
    ]
    assert sorted(np.stack(one).tobytes() for one in answers.values()) == sorted(
        one.tobytes() for one in played.values()
    )
    assert np.unique(np.concatenate(list(played.values()))[..., 6]).size > 1  # the gripper was asked for both


def test_a_new_episode_on_an_old_connection_begins_with_an_open_gripper(policy: NanoPolicy) -> None:
    """openpi's client keeps one connection: fingers far apart under a closed command are another episode's."""
    player = ServedPolicy(policy).player()
    player._gripper = 1.0
    seen = []

    def decide(observation: Mapping[str, NDArray[Any]], instruction: str) -> NDArray[np.float32]:
        seen.append(float(observation["proprio"][0, 11]))
        return np.zeros((4, 7), np.float32)

    player._served.decide = decide  # type: ignore[method-assign]
    player.act(question())
    player._gripper = 1.0
    player.act(question(**{"observation/state": np.array([-0.2, 0.0, 1.0, 3.1, 0.0, 0.0, 0.02, -0.02])}))
    assert seen == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation/state": np.zeros(7)}, "8 finite numbers"),
        ({"observation/state": np.full(8, np.nan)}, "8 finite numbers"),
        ({"observation/image": np.zeros((32, 32, 3))}, "uint8 picture"),
        ({"observation/image": np.zeros((32, 16, 3), np.uint8)}, "square"),
        ({"prompt": 3}, "prompt"),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_with_a_sentence(
    policy: NanoPolicy, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ServedPolicy(policy).player().act(question(**changes))


def test_what_a_question_lacks_is_named(policy: NanoPolicy) -> None:
    with pytest.raises(ConfigError, match="lacks observation/state, prompt"):
        ServedPolicy(policy).player().act({key: question()[key] for key in PICTURES.values()})
    for steps in (0, 5):
        with pytest.raises(ConfigError, match=f"--replan-steps is {steps}; give 1 to 4"):
            ServedPolicy(policy, replan_steps=steps)


def test_the_command_serves_a_run_until_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder)
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)
    config = toy_config(tmp_path / "run", iterations=1)
    train(config.replace(env={**config.env.model_dump(), "detail": "exact"}))
    said = tmp_path / "served" / "stderr"
    command = ("-m", "tgrpo_trainer", "serve", str(tmp_path / "run"), "--port", "0", "--api-key", "k")
    with started(*command, folder=said.parent) as child:
        wait_until(lambda: ";" in said.read_text(), child)
        url = said.read_text().partition("at ")[2].partition(";")[0]
        assert url.startswith("ws://127.0.0.1:"), said.read_text()
        with pytest.raises(PolicyError, match="401"):
            OpenPiPolicy(url, timeout_s=30)
        client = OpenPiPolicy(url, timeout_s=30, api_key="k")
        assert (client.image_size, client.replan_steps, client.detail) == (16, 2, "exact")
        client.close()
        child.send_signal(signal.SIGINT)
        assert child.wait(DEADLINE_S) == 130
    assert "Interrupted" in said.read_text()
