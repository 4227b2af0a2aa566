"""Policies behind openpi's websocket: one connection an episode, the questions of all episodes on the way at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.arrays import integer, whole_number
from tgrpo_envs.bridges.libero import turned
from tgrpo_envs.bridges.numpy_msgpack import pack, unpack
from tgrpo_envs.bridges.policy import Seen, check_actions
from tgrpo_envs.bridges.websocket import WebsocketServer
from tgrpo_envs.errors import ConfigError, PolicyError
from tgrpo_envs.extras import needs_extra
from tgrpo_envs.shared_settings import MAX_PICTURE_PX
from tgrpo_envs.sim.snapshot import FloatArray

with needs_extra("bridges"):
    from PIL import Image
    from websockets.sync.client import ClientConnection

DRAWN_PX = 256
SENT_PX = 224
REPLAN_STEPS = 5
OWN_METADATA = "tgrpo"
"""A server of ours says under this key which pictures its policy was trained on, and how much of an answer to play."""


class OpenPiPolicy:
    """A policy server that speaks openpi's protocol.

    Pictures are drawn with 256 pixels and sent with 224, as openpi's evaluation of LIBERO does; a server of ours says
    in its metadata which size it takes, and gets it as drawn.

    Args:
        url: ``ws://host:port`` or ``wss://...``.
        timeout_s: How long to wait for an answer, and for a connection.
        api_key: Sent as ``Authorization: Api-Key ...`` where given.
        image_size: Side of the pictures to draw; None takes the server's or 256.
        replan_steps: Control steps to play of each answer; None takes the server's or 5.

    Raises:
        PolicyError: Nobody speaks the protocol there.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        api_key: str | None = None,
        image_size: int | None = None,
        replan_steps: int | None = None,
    ) -> None:
        self.url = url
        self._server = WebsocketServer(url, timeout_s, {"Authorization": f"Api-Key {api_key}"} if api_key else None)
        self._connections: dict[int, ClientConnection] = {}
        self._spare: ClientConnection | None
        self._spare, metadata = self._connect()
        own = metadata.get(OWN_METADATA)
        own = own if isinstance(own, Mapping) else {}
        own_px = self._own_picture_px(own.get("image_size"))
        self._sent_px = own_px or SENT_PX
        self.image_size = image_size or own_px or DRAWN_PX
        self.detail = "fast" if own.get("detail") == "fast" else "exact"
        self.replan_steps = replan_steps or integer(own.get("replan_steps")) or REPLAN_STEPS

    def _own_picture_px(self, stated: object) -> int | None:
        """What a server of ours says of its pictures' side."""
        if stated is None:
            return None
        try:
            return whole_number("image_size", stated, 1, MAX_PICTURE_PX)
        except ConfigError as error:
            raise PolicyError(f"The server {self.url} says of itself what cannot be: {error}") from error

    def act(self, seen: Seen) -> Sequence[FloatArray]:
        """See `bridges.policy.OutsidePolicy.act`."""
        agentview, wrist = (resized(turned(seen.pictures[name]), self._sent_px) for name in ("agentview", "wrist"))
        connections = [self._connection(episode) for episode in seen.episodes]  # while the server is not busy
        for row, connection in enumerate(connections):
            question = {
                "observation/image": agentview[row],
                "observation/wrist_image": wrist[row],
                "observation/state": seen.state_n8[row],
                "prompt": seen.instruction,
            }
            self._server.send(connection, pack(question))
        return [self._answer(connection) for connection in connections]

    def end(self, episode: int) -> None:
        """Close the episode's connection."""
        if (connection := self._connections.pop(episode, None)) is not None:
            connection.close()

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._connections.values(), *([self._spare] if self._spare else [])):
            connection.close()
        self._connections, self._spare = {}, None

    def _connection(self, episode: int) -> ClientConnection:
        if episode not in self._connections:
            spare, self._spare = self._spare, None
            self._connections[episode] = spare or self._connect()[0]
        return self._connections[episode]

    def _connect(self) -> tuple[ClientConnection, dict[Any, Any]]:
        connection = self._server.connect()
        try:
            return connection, self._message(connection, " An openpi server speaks first, with a dictionary on itself.")
        except BaseException:
            connection.close()
            raise

    def _answer(self, connection: ClientConnection) -> FloatArray:
        answer = self._message(connection)
        if "actions" not in answer:
            raise PolicyError(f"The server {self.url} answered without 'actions', with {sorted(map(str, answer))[:9]}.")
        return check_actions(answer["actions"], f"The server {self.url}", self.replan_steps)

    def _message(self, connection: ClientConnection, expected: str = "") -> dict[Any, Any]:
        content = self._server.receive(connection, expected)
        if isinstance(content, str):  # openpi sends a failure's traceback as text
            said = content.strip().splitlines() or [""]
            raise PolicyError(f"The server {self.url} failed: {said[-1][:300]}")
        try:
            message = unpack(content)
        except PolicyError as error:
            raise PolicyError(f"What the server {self.url} sent cannot be read: {error}") from error
        if not isinstance(message, dict):
            raise PolicyError(f"The server {self.url} sent a {type(message).__name__} in place of a dictionary.")
        return message


def resized(pictures_NHWC: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Square pictures at another size as openpi does it (Pillow, bilinear); those of the size itself as they are."""
    if pictures_NHWC.shape[1] == side:
        return pictures_NHWC
    size = (side, side)
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in pictures_NHWC])
