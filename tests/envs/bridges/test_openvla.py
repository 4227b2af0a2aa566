"""OpenVLA's and OFT's /act: what a question holds, the forms of an answer, servers that fail."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import numpy as np
import pytest

from tests.helpers.policy_server import act_server
from tests.helpers.seen import seen
from tgrpo_envs.bridges.openvla import OpenVlaPolicy, to_json
from tgrpo_envs.errors import ConfigError, PolicyError

ACTION = np.array([0.1, -0.2, 0.3, 0.0, 0.0, 0.5, 0.996])
PLAYED = np.array([0.1, -0.2, 0.3, 0.0, 0.0, 0.5, -1.0])  # OpenVLA's 1 is open, LIBERO's -1


def array(value: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(value["__numpy__"]), value["dtype"]).reshape(value["shape"])


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(ACTION.tolist()),
        json.dumps(to_json(ACTION)),
        json.dumps(json.dumps(to_json(ACTION))),  # `encoded`: JSON in JSON
    ],
    ids=["list", "array", "twice"],
)
def test_openvla_is_asked_for_one_step(answer: str) -> None:
    questions: list[dict[str, Any]] = []

    def reply(question: dict[str, Any]) -> bytes:
        questions.append(question)
        return answer.encode()

    with act_server(reply) as url:
        policy = OpenVlaPolicy(url, "openvla", timeout_s=20, unnorm_key="libero_object")
        actions = policy.act(seen(2))
    assert len(actions) == 2
    assert all(np.array_equal(one, PLAYED[None]) for one in actions)
    assert policy.replan_steps == 1
    assert all(set(one) == {"image", "instruction", "unnorm_key"} for one in questions)
    pictures = sorted(array(one["image"]).tobytes() for one in questions)
    assert pictures == sorted(one[:, ::-1].tobytes() for one in seen(2).pictures["agentview"])


def test_oft_is_asked_with_both_pictures_and_the_state() -> None:
    questions: list[dict[str, Any]] = []

    def reply(question: dict[str, Any]) -> bytes:
        questions.append(question)
        return json.dumps([to_json(ACTION)] * 8).encode()

    with act_server(reply) as url:
        policy = OpenVlaPolicy(url, "oft", timeout_s=20)
        (actions,) = policy.act(seen(1))
    assert np.array_equal(actions, np.tile(PLAYED, (8, 1)))
    assert policy.replan_steps == 8
    (question,) = questions
    assert set(question) == {"full_image", "wrist_image", "state", "instruction"}
    assert np.array_equal(array(question["full_image"]), seen(1).pictures["agentview"][0][:, ::-1])
    assert np.array_equal(array(question["wrist_image"]), seen(1).pictures["wrist"][0][:, ::-1])
    assert np.array_equal(array(question["state"]), np.arange(8.0))


def test_a_gripper_that_closes_is_plus_one() -> None:
    with act_server(lambda _: json.dumps([0.0] * 7).encode()) as url:
        (actions,) = OpenVlaPolicy(url, "openvla", timeout_s=20).act(seen(1))
    assert actions[0, 6] == 1.0


LIE = {"__numpy__": base64.b64encode(b"1234").decode(), "dtype": "<f8", "shape": [7]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'"error"', "'error' in place of actions"),
        (b"<html>", "cannot be read"),
        (b"[0, 0, 0]", r"shape \(3,\)"),
        (b"[0, 0, 0, 0, 0, 0, NaN]", "NaN"),
        (json.dumps(LIE).encode(), "bytes do not fit"),
        (b'{"actions": 1}', "real numbers"),
        (b"null", "real numbers|cannot be read"),
    ],
)
def test_a_bad_answer_is_one_sentence(answer: bytes, message: str) -> None:
    with act_server(lambda _: answer) as url:
        with pytest.raises(PolicyError, match=message) as caught:
            OpenVlaPolicy(url, "openvla", timeout_s=20).act(seen(1))
        assert "\n" not in str(caught.value)


def test_a_stall_ends_after_the_time_that_was_given() -> None:
    def stall(_question: dict[str, Any]) -> bytes:
        time.sleep(1.5)
        return b"[]"

    with act_server(stall) as url, pytest.raises(PolicyError, match=r"within 0\.3 s"):
        OpenVlaPolicy(url, "openvla", timeout_s=0.3).act(seen(1))


def test_a_server_that_is_gone_or_has_no_address() -> None:
    with act_server(lambda _: b"[]") as url:
        pass
    with pytest.raises(PolicyError, match="cannot be reached"):
        OpenVlaPolicy(url, "openvla", timeout_s=5).act(seen(1))
    with pytest.raises(ConfigError, match="http://host:port"):
        OpenVlaPolicy("localhost:8000", "openvla", timeout_s=5)
