"""Policies behind vla-evaluation-harness' model servers: its messages on a websocket, one connection an episode."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tgrpo_envs.bridges.libero import turned
from tgrpo_envs.bridges.numpy_msgpack import array_of
from tgrpo_envs.bridges.policy import Seen, check_actions
from tgrpo_envs.bridges.websocket import WebsocketServer
from tgrpo_envs.errors import PolicyError
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.sim.snapshot import FloatArray

with needs_extra("bridges"):
    import msgpack
    from websockets.sync.client import ClientConnection

DRAWN_PX = 256
PROTOCOL_VERSION = 1


class VlaEvalPolicy:
    """A model server of vla-evaluation-harness, asked as its LIBERO benchmark asks.

    It answers one control step at a time, and plays chunks by itself. The gripper is cut at 0; +1 closes. Its hello
    says what it looks at: the wrist's picture and the state are sent where it does, the axis-angle folded into half a
    turn unless it wants LIBERO's sign.

    Args:
        url: ``ws://host:port`` or ``wss://...``.
        timeout_s: How long to wait for an answer, and for a connection.
        image_size: Side of the pictures to draw and send; None takes 256.

    Raises:
        PolicyError: Nobody speaks the protocol there, or it wants to give poses in place of movements.
    """

    detail = "exact"
    replan_steps = 1

    def __init__(self, url: str, *, timeout_s: float, image_size: int | None = None) -> None:
        self.url, self._server = url, WebsocketServer(url, timeout_s)
        self._looks_at: dict[str, Any] = {}
        self.image_size = image_size or DRAWN_PX
        self._connections: dict[int, ClientConnection] = {}
        self._spare: ClientConnection | None = self._connect()

    def act(self, seen: Seen) -> Sequence[FloatArray]:
        """See `bridges.policy.OutsidePolicy.act`."""
        agentview, wrist = (turned(seen.pictures[name]) for name in ("agentview", "wrist"))
        connections = [self._connection(episode, seen.instruction) for episode in seen.episodes]
        state_n8 = seen.state_n8 if self._looks_at.get("quat_no_antipodal") else folded(seen.state_n8)
        for row, connection in enumerate(connections):
            images = {"agentview": agentview[row]}
            if self._looks_at.get("send_wrist_image"):
                images["wrist"] = wrist[row]
            question: dict[str, Any] = {"images": images, "task_description": seen.instruction}
            if self._looks_at.get("send_state"):
                question["states"] = state_n8[row]
            self._say(connection, "observation", question, seq=int(seen.control_steps_n[row]) + 1)
        return [self._action(connection) for connection in connections]

    def end(self, episode: int) -> None:
        """Tell the server that the episode is over, and close its connection."""
        if (connection := self._connections.pop(episode, None)) is not None:
            self._say(connection, "episode_end", {})
            connection.close()

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._connections.values(), *([self._spare] if self._spare else [])):
            connection.close()
        self._connections, self._spare = {}, None

    def _connection(self, episode: int, instruction: str) -> ClientConnection:
        if episode not in self._connections:
            spare, self._spare = self._spare, None
            connection = self._connections[episode] = spare or self._connect()
            self._say(connection, "episode_start", {"task": {"name": instruction}})
        return self._connections[episode]

    def _connect(self) -> ClientConnection:
        connection = self._server.connect()
        try:
            hello = {"harness_version": "0", "protocol_version": PROTOCOL_VERSION, "benchmark": "libero"}
            self._say(connection, "hello", hello)
            wanted = self._heard(connection, "hello").get("observation_params")
            self._looks_at = wanted if isinstance(wanted, dict) else {}
            if self._looks_at.get("absolute_action"):
                raise PolicyError(
                    f"The server {self.url} gives absolute poses, and movements are played; choose another."
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _action(self, connection: ClientConnection) -> FloatArray:
        payload = self._heard(connection, "action")
        answer = payload.get("actions", payload.get("action"))
        actions_CA = check_actions(answer, f"The server {self.url}", self.replan_steps)[:1].copy()
        actions_CA[:, 6] = np.where(actions_CA[:, 6] < 0.0, -1.0, 1.0)
        return actions_CA

    def _say(self, connection: ClientConnection, kind: str, payload: dict[str, Any], seq: int = 0) -> None:
        message = {"type": kind, "payload": payload, "seq": seq, "timestamp": time.time()}
        self._server.send(connection, msgpack.packb(message, default=_encode))

    def _heard(self, connection: ClientConnection, kind: str) -> dict[str, Any]:
        """The payload of the next message."""
        content = self._server.receive(connection)
        try:
            message = msgpack.unpackb(content, object_hook=_decode)
            got, payload = message["type"], message["payload"]
        except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
            raise PolicyError(f"What the server {self.url} sent cannot be read: {error}.") from error
        if got == "error":
            raise PolicyError(f"The server {self.url} failed: {str(payload)[:300]}")
        if got != kind or not isinstance(payload, dict):
            raise PolicyError(f"The server {self.url} sent {str(got)[:80]!r} in place of {kind!r}.")
        return payload


def folded(state_n8: FloatArray) -> FloatArray:
    """LIBERO's state with the axis-angle (numbers 3 to 5) of the quaternion whose w is not negative: at most pi."""
    state_n8 = state_n8.copy()
    angles_n1 = np.linalg.norm(state_n8[:, 3:6], axis=1, keepdims=True)
    beyond_n = angles_n1[:, 0] > np.pi
    state_n8[beyond_n, 3:6] *= 1.0 - 2.0 * np.pi / angles_n1[beyond_n]
    return state_n8


def _encode(value: object) -> dict[str, Any]:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {
            "__ndarray__": True,
            "data": value.tobytes(),
            "dtype": value.dtype.str,
            "shape": list(value.shape),
        }
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _decode(value: dict[Any, Any]) -> Any:
    return array_of(value["data"], value["dtype"], value["shape"]) if "__ndarray__" in value else value
