"""vla-evaluation-harness' messages: their bytes, what a server is shown, and servers that fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("msgpack")
pytest.importorskip("websockets")

import msgpack
from websockets.sync.server import serve

from tests.helpers.seen import seen
from tgrpo_envs.bridges.libero import axis_angle
from tgrpo_envs.bridges.vla_eval import VlaEvalPolicy, folded
from tgrpo_envs.errors import PolicyError

ALL = {"send_wrist_image": True, "send_state": True, "quat_no_antipodal": True}


@contextmanager
def server(answer: Any, observation_params: dict[str, Any] = ALL) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Speaks as the harness' own does: hello for hello, an action for an observation, with its number."""
    heard: list[dict[str, Any]] = []

    def handle(connection: Any) -> None:
        for content in connection:
            message = msgpack.unpackb(content)
            heard.append(message)
            reply = {"seq": message["seq"], "timestamp": 0.0}
            if message["type"] == "hello":
                about = {"harness_version": "0.7", "protocol_version": 1, "observation_params": observation_params}
                connection.send(msgpack.packb({**reply, "type": "hello", "payload": about}))
            elif message["type"] == "observation":
                given = answer(message) if callable(answer) else answer
                connection.send(given if isinstance(given, bytes) else msgpack.packb({**reply, **given}))

    with serve(handle, "127.0.0.1", 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{running.socket.getsockname()[1]}", heard
        finally:
            running.shutdown()
            thread.join()


def sent(array: np.ndarray) -> dict[str, Any]:
    return {"__ndarray__": True, "data": array.tobytes(), "dtype": array.dtype.str, "shape": list(array.shape)}


def action(*values: float) -> dict[str, Any]:
    return {"type": "action", "payload": {"actions": sent(np.array(values, dtype=np.float32))}}


def test_an_episode_is_begun_asked_and_ended_as_the_harness_does() -> None:
    with server(action(0.1, 0, 0, 0, 0, 0, -0.2)) as (url, heard):
        policy = VlaEvalPolicy(url, timeout_s=20)
        first, second = policy.act(seen(2))
        policy.end(10)
        policy.act(seen(2, step=1))
        policy.close()
    assert np.allclose(first, [[0.1, 0, 0, 0, 0, 0, -1.0]]) and np.array_equal(first, second)
    questions = [one for one in heard if one["type"] == "observation"]
    assert [one["seq"] for one in questions] == [1, 1, 2, 2]
    shown = {tuple(one["payload"]["states"]["data"]) for one in questions}
    assert len(shown) == 2
    by_state = {one["payload"]["states"]["data"]: one["payload"] for one in questions}
    for row in range(2):
        payload = by_state[seen(2).state_n8[row].tobytes()]
        assert payload["task_description"] == "pick up the soup"
        assert list(payload["images"]) == ["agentview", "wrist"]  # some servers take them by their order
        for name, picture in payload["images"].items():
            assert picture == sent(np.ascontiguousarray(seen(2).pictures[name][row][:, ::-1]))
    kinds = [one["type"] for one in heard]
    assert kinds.count("episode_start") == 3 and kinds.count("episode_end") == 1 and kinds.count("hello") == 3
    assert all(set(one) == {"type", "payload", "seq", "timestamp"} for one in heard)


def test_what_a_server_does_not_ask_for_is_not_sent() -> None:
    with server(action(*[0.0] * 7), {"env_seed": 0}) as (url, heard):
        policy = VlaEvalPolicy(url, timeout_s=20)
        (actions,) = policy.act(seen(1))
        policy.close()
    assert actions[0, 6] == 1.0  # the harness closes at 0
    payload = heard[-1]["payload"]
    assert set(payload) == {"images", "task_description"} and list(payload["images"]) == ["agentview"]


def test_a_folded_axis_angle_is_that_of_the_other_quaternion() -> None:
    """The harness turns the quaternion's sign where w is negative, unless a server says otherwise."""
    quaternions_N4 = np.random.default_rng(0).normal(size=(50, 4))
    quaternions_N4 /= np.linalg.norm(quaternions_N4, axis=1, keepdims=True)
    state_N8 = np.concatenate([np.ones((50, 3)), axis_angle(quaternions_N4), np.ones((50, 2))], axis=1)
    flipped_N4 = np.where(quaternions_N4[:, 3:] < 0, -quaternions_N4, quaternions_N4)
    expected = np.concatenate([np.ones((50, 3)), axis_angle(flipped_N4), np.ones((50, 2))], axis=1)
    np.testing.assert_allclose(folded(state_N8), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"type": "error", "payload": {"error": "observation_failed: KeyError: wrist"}}, "failed: .*KeyError: wrist"),
        (action(0.0, 1.0), r"shape \(2,\)"),
        (action(*[np.nan] * 7), "NaN"),
        ({"type": "action", "payload": {"text": "no"}}, "real numbers|actions of"),
        ({"type": "hello", "payload": {}}, "'hello' in place of 'action'"),
        (b"\xc1", "cannot be read"),
        (msgpack.packb([1, 2]), "cannot be read"),
        ({"type": "action", "payload": {"actions": {**sent(np.zeros(7)), "shape": [8]}}}, "cannot be read"),
    ],
)
def test_a_bad_answer_is_one_sentence(answer: Any, message: str) -> None:
    with server(answer) as (url, _):
        policy = VlaEvalPolicy(url, timeout_s=20)
        with pytest.raises(PolicyError, match=message) as caught:
            policy.act(seen(1))
        policy.close()
    assert "\n" not in str(caught.value)


def test_a_server_of_poses_one_that_is_silent_and_one_that_is_gone() -> None:
    with server(None, {"absolute_action": True}) as (url, _), pytest.raises(PolicyError, match="absolute poses"):
        VlaEvalPolicy(url, timeout_s=20)
    blocked = threading.Event()
    with server(lambda _: blocked.wait(5) and b"") as (url, _):
        policy = VlaEvalPolicy(url, timeout_s=0.3)
        with pytest.raises(PolicyError, match=r"said nothing for 0\.3 s"):
            policy.act(seen(1))
        blocked.set()
        policy.close()
    with pytest.raises(PolicyError, match="cannot be reached"):
        VlaEvalPolicy(url, timeout_s=5)
