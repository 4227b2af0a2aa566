"""What the bridges refuse in one sentence: modes that would mix up observations, views without pictures, addresses."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from tests.helpers.seen import seen
from tgrpo_envs.bridges import lerobot
from tgrpo_envs.errors import ConfigError, StateError
from tgrpo_envs.vector import LiberoVectorEnv

SUITE, ID = "libero_object", "tgrpo_envs:TGRPO-LiberoObject-v0"
SMALL: dict[str, Any] = {"assets": "primitive", "detail": "off", "num_threads": 1}


@pytest.mark.parametrize("setting", [{"detail": "off"}, {"observe": "state"}, {"cameras": ("agentview",)}])
def test_lerobot_needs_both_pictures(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="LeRobot sees agentview and wrist"):
        lerobot.make_vec(SUITE, 1, assets="primitive", **setting)


def test_lerobots_members_have_one_autoreset_mode() -> None:
    with pytest.raises(ConfigError, match="leave autoreset_mode out"):
        lerobot.make_vec(SUITE, 1, assets="primitive", autoreset_mode="SameStep")


def test_a_refused_reset_costs_lerobot_no_states() -> None:
    envs = lerobot.make_vec(SUITE, 1, assets="primitive", image_size=16, init_states="heldout")
    with pytest.raises(ConfigError, match="group_size"):
        envs.reset(options={"group_size": 2})
    assert envs._next_state == 0
    with pytest.raises(StateError, match="does not exist"):
        envs.reset(options={"init_state_ids": [10**6]})
    assert envs._next_state == 0


@pytest.mark.parametrize("settings", [{}, {"autoreset_mode": "SameStep", "copy": False}])
def test_stable_baselines_keeps_no_observation_that_is_overwritten(settings: dict[str, Any]) -> None:
    """Its buffer takes the last observation after the step; a member's last one comes only in the mode `SameStep`."""
    pytest.importorskip("stable_baselines3")
    from tgrpo_envs.bridges.sb3 import Sb3VecEnv

    with pytest.raises(ConfigError, match="do not fit"):
        Sb3VecEnv(LiberoVectorEnv(SUITE, 2, **SMALL, **settings))


def test_options_seeds_and_steps_of_stable_baselines_are_checked() -> None:
    pytest.importorskip("stable_baselines3")
    from tgrpo_envs.bridges.sb3 import make_vec

    env = make_vec(ID, 2, **SMALL)
    for options, said in (
        ({"init_states": "heldout", "init_state_ids": 3}, "a list of one for each member"),
        ({"init_states": "heldout", "init_state_ids": [3, 4]}, "a list of one for each member"),
        ({"init_states": "heldout", "init_state_ids": "3"}, "must be whole numbers"),
        ([{"group_size": 1}, {"group_size": 2}], "equal options"),
    ):
        env.set_options(options)
        with pytest.raises(ConfigError, match=said):
            env.reset()
    with pytest.raises(ConfigError, match="seed='x'"):
        env.seed("x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="call step_async"):
        env.step_wait()


def test_the_query_of_openvlas_address_is_sent() -> None:
    from tgrpo_envs.bridges.openvla import OpenVlaPolicy

    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[0, 0, 0, 0, 0, 0, 1]")

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        for path in ("?key=1", "/other?key=1", ""):
            policy = OpenVlaPolicy(f"http://127.0.0.1:{server.server_port}{path}", "openvla", timeout_s=20)
            (actions_CA,) = policy.act(seen(1))
            assert np.array_equal(actions_CA, [[0, 0, 0, 0, 0, 0, -1]])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert asked == ["/act?key=1", "/other?key=1", "/act"]


@pytest.mark.parametrize("port", [99999, -1])
def test_a_port_that_there_cannot_be_is_refused(port: int) -> None:
    pytest.importorskip("websockets")
    from tgrpo_envs.bridges.openpi_server import serving

    with (
        pytest.raises(ConfigError, match="give another --port"),
        serving(lambda: pytest.fail("nobody asks"), host="127.0.0.1", port=port, metadata={}),
    ):
        pytest.fail("it listens")
