"""openpi's protocol: its bytes, what a question holds, keys, and servers that fail in every way."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("msgpack")
pytest.importorskip("websockets")

import msgpack
from websockets.sync.server import serve

from tests.helpers.seen import seen
from tgrpo_envs.bridges.numpy_msgpack import pack, unpack
from tgrpo_envs.bridges.openpi import OpenPiPolicy
from tgrpo_envs.bridges.openpi_server import serving_in_a_thread
from tgrpo_envs.errors import ConfigError, PolicyError

AT: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "metadata": {}}


class Says:
    """A player that answers with a fixed value, or does what a function does."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.questions: list[Mapping[str, Any]] = []

    def act(self, question: Mapping[str, Any]) -> Any:
        self.questions.append(question)
        return self.answer(question) if callable(self.answer) else self.answer


def test_arrays_are_packed_as_openpi_packs_them() -> None:
    """Byte for byte: its keys are bytes, not strings."""
    array = np.array([[1.5, 2.5]], dtype=np.float32)
    expected = {
        "a": {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": "<f4", b"shape": [1, 2]},
        "b": {b"__npgeneric__": True, b"data": 3, b"dtype": "<i8"},
    }
    assert pack({"a": array, "b": np.int64(3)}) == msgpack.packb(expected)
    back = unpack(pack({"a": array, "b": np.int64(3), "c": "text"}))
    assert back["b"] == 3
    assert back["c"] == "text"
    assert back["a"].dtype == np.float32
    assert np.array_equal(back["a"], array)


@pytest.mark.parametrize(
    "lie",
    [
        {b"__ndarray__": True, b"data": b"1234", b"dtype": "<f4", b"shape": [2]},
        {b"__ndarray__": True, b"data": b"1234", b"dtype": "|O", b"shape": [1]},
        {b"__ndarray__": True, b"data": b"1234", b"dtype": "<f4", b"shape": [-1]},
        {b"__ndarray__": True, b"data": b"1234"},
    ],
)
def test_an_array_that_is_not_what_it_says_is_refused(lie: dict[bytes, Any]) -> None:
    with pytest.raises(PolicyError):
        unpack(msgpack.packb(lie))


def test_a_question_has_openpis_keys_and_turned_pictures_of_224_pixels() -> None:
    says = Says(np.full((10, 7), 0.25))
    with serving_in_a_thread(lambda: says, **AT) as url:
        policy = OpenPiPolicy(url, timeout_s=20)
        assert (policy.image_size, policy.replan_steps) == (256, 5)
        (actions,) = policy.act(seen(1, size=224))
        policy.close()
    assert np.array_equal(actions, np.full((10, 7), 0.25))
    (question,) = says.questions
    assert set(question) == {"observation/image", "observation/wrist_image", "observation/state", "prompt"}
    assert np.array_equal(question["observation/image"], seen(1, size=224).pictures["agentview"][0][:, ::-1])
    assert np.array_equal(question["observation/wrist_image"], seen(1, size=224).pictures["wrist"][0][:, ::-1])
    assert np.array_equal(question["observation/state"], np.arange(8.0))
    assert question["prompt"] == "pick up the soup"


def test_pictures_are_resized_with_bilinear_pixels() -> None:
    says = Says(np.zeros((5, 7)))
    with serving_in_a_thread(lambda: says, **AT) as url:
        policy = OpenPiPolicy(url, timeout_s=20)
        policy.act(seen(1, size=256))
        policy.close()
    from PIL import Image

    turned = Image.fromarray(seen(1, size=256).pictures["agentview"][0][:, ::-1])
    assert np.array_equal(
        says.questions[0]["observation/image"], np.asarray(turned.resize((224, 224), Image.Resampling.BILINEAR))
    )


def test_episodes_have_connections_of_their_own_and_are_asked_at_once() -> None:
    """Every answer waits until all three questions are there: one after the other would never end."""
    together, players = threading.Barrier(3), []

    def answer(_question: Mapping[str, Any]) -> NDArray[np.float64]:
        together.wait(20)
        return np.full((5, 7), 0.5)

    def player() -> Says:
        players.append(Says(answer))
        return players[-1]

    with serving_in_a_thread(player, **AT) as url:
        policy = OpenPiPolicy(url, timeout_s=20)
        assert len(policy.act(seen(3, size=32))) == 3
        policy.end(11)
        policy.close()
    assert sorted(len(one.questions) for one in players) == [1, 1, 1]


def test_a_server_of_ours_says_which_pictures_it_takes() -> None:
    says = Says(np.zeros((8, 7)))
    metadata = {"tgrpo": {"image_size": 48, "replan_steps": 8}}
    with serving_in_a_thread(lambda: says, **AT | {"metadata": metadata}) as url:
        policy = OpenPiPolicy(url, timeout_s=20)
        assert (policy.image_size, policy.replan_steps) == (48, 8)
        policy.act(seen(1, size=48))
        policy.close()
    assert says.questions[0]["observation/image"].shape == (48, 48, 3)


@pytest.mark.parametrize("side", [-224, 0, 5000, "48"])
def test_a_server_that_says_of_itself_what_cannot_be_is_refused(side: object) -> None:
    metadata = {"tgrpo": {"image_size": side}}
    with (
        serving_in_a_thread(lambda: Says(np.zeros((5, 7))), **AT | {"metadata": metadata}) as url,
        pytest.raises(PolicyError, match="says of itself what cannot be: image_size="),
    ):
        OpenPiPolicy(url, timeout_s=20, image_size=32)


def test_a_key_is_asked_for_and_health_is_not() -> None:
    with serving_in_a_thread(lambda: Says(np.zeros((5, 7))), **AT, api_key="right") as url:
        for key in (None, "wrong"):
            with pytest.raises(PolicyError, match="401"):
                OpenPiPolicy(url, timeout_s=20, api_key=key)
        OpenPiPolicy(url, timeout_s=20, api_key="right").close()
        assert urllib.request.urlopen(url.replace("ws:", "http:") + "/healthz").read() == b"OK\n"


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with serving_in_a_thread(lambda: Says(0), **AT) as url:
        taken = int(url.rpartition(":")[2])
        with (
            pytest.raises(ConfigError, match="another --port"),
            serving_in_a_thread(lambda: Says(0), **AT | {"port": taken}),
        ):
            pass


def refuse(_question: Mapping[str, Any]) -> NoReturn:
    raise ConfigError("the battery is empty")


def crash(_question: Mapping[str, Any]) -> NoReturn:
    raise ZeroDivisionError


def test_a_server_that_waits_for_a_question_is_told_to_speak_first() -> None:
    done = threading.Event()
    with serve(lambda _: done.wait(20), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        with pytest.raises(PolicyError, match=r"said nothing for 0\.5 s; .* speaks first"):
            OpenPiPolicy(f"ws://127.0.0.1:{port}", timeout_s=0.5)
        done.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((4, 7)), r"shape \(4, 7\).*at least 5"),
        (np.zeros((5, 8)), r"shape \(5, 8\)"),
        (np.zeros((2, 5, 7)), r"shape \(2, 5, 7\)"),
        (np.full((5, 7), np.nan), "NaN"),
        ("left", "real numbers"),
        (None, "real numbers|cannot be read"),
        (refuse, "failed: the battery is empty"),
        (crash, "is gone"),
        (lambda _: threading.Event().wait(3), "said nothing for 0.5 s"),
    ],
    ids=["short", "wide", "deep", "nan", "text", "nothing", "error", "crash", "stall"],
)
def test_a_bad_answer_is_one_sentence(answer: Any, message: str) -> None:
    with serving_in_a_thread(lambda: Says(answer), **AT) as url:
        policy = OpenPiPolicy(url, timeout_s=0.5 if "0.5" in message else 20)
        with pytest.raises(PolicyError, match=message) as caught:
            policy.act(seen(1, size=32))
        policy.close()
    assert "\n" not in str(caught.value)
    assert url in str(caught.value)


def test_nobody_there_is_one_sentence() -> None:
    with serving_in_a_thread(lambda: Says(0), **AT) as url:
        pass
    with pytest.raises(PolicyError, match="cannot be reached"):
        OpenPiPolicy(url, timeout_s=5)
