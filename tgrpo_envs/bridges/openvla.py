"""Policies behind the `/act` of OpenVLA and OpenVLA-OFT: a question is one HTTP request with arrays in JSON."""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import time
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np

from tgrpo_envs.bridges.libero import gripper_from_openvla, turned
from tgrpo_envs.bridges.numpy_msgpack import array_of
from tgrpo_envs.bridges.policy import Seen, check_actions
from tgrpo_envs.errors import ConfigError, PolicyError
from tgrpo_envs.sim.snapshot import FloatArray

DRAWN_PX = 256
REPLAN_STEPS = {"openvla": 1, "oft": 8}
MAX_REPLY_BYTES = 16 * 1024**2


class OpenVlaPolicy:
    """A server of OpenVLA's (`image`, `instruction`) or OFT's `deploy.py` (two pictures, the state, `instruction`).

    What the server answers for the gripper, 0 closed to 1 open, is made +1 or -1 as their evaluations do.

    Args:
        url: ``http://host:port`` or ``https://...``; ``/act`` is added where no path is given.
        kind: Whose questions to ask.
        timeout_s: How long to wait for an answer.
        unnorm_key: Which of the model's statistics to use, where the server is to be told.
        image_size: Side of the pictures to draw and send; None takes 256, as their evaluations draw.
        replan_steps: Control steps to play of each answer; None takes 1, or OFT's 8.

    Raises:
        ConfigError: No such URL.
    """

    detail = "exact"

    def __init__(
        self,
        url: str,
        kind: Literal["openvla", "oft"],
        *,
        timeout_s: float,
        unnorm_key: str | None = None,
        image_size: int | None = None,
        replan_steps: int | None = None,
    ) -> None:
        try:
            parts = urlsplit(url)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # of brackets, and of the port
            is_address = False
        if not is_address:
            raise ConfigError(f"{url!r} is no address of a server; give http://host:port.")
        self.url, self._parts, self._kind, self._timeout_s, self._unnorm_key = url, parts, kind, timeout_s, unnorm_key
        self.image_size = image_size or DRAWN_PX
        self.replan_steps = replan_steps or REPLAN_STEPS[kind]

    def act(self, seen: Seen) -> Sequence[FloatArray]:
        """See `bridges.policy.OutsidePolicy.act`; all questions are on the way before the first answer is read."""
        asked: list[http.client.HTTPConnection] = []
        try:
            for row in range(len(seen.episodes)):
                asked.append(self._connection())
                body = json.dumps(self._question(seen, row))
                self._ask(asked[-1], body)
            return [self._actions(self._reply(connection)) for connection in asked]
        finally:
            for connection in asked:
                connection.close()

    def end(self, episode: int) -> None:
        """Nothing to do: the server remembers nothing."""

    def close(self) -> None:
        """Nothing to do."""

    def _question(self, seen: Seen, row: int) -> dict[str, Any]:
        agentview, wrist = (to_json(turned(seen.pictures[name][row : row + 1])[0]) for name in ("agentview", "wrist"))
        question = {"instruction": seen.instruction}
        if self._unnorm_key is not None:
            question["unnorm_key"] = self._unnorm_key
        if self._kind == "openvla":
            return {**question, "image": agentview}
        return {**question, "full_image": agentview, "wrist_image": wrist, "state": to_json(seen.state_n8[row])}

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        return kind(str(self._parts.hostname), self._parts.port, timeout=self._timeout_s)

    def _ask(self, connection: http.client.HTTPConnection, body: str) -> None:
        path = self._parts.path if self._parts.path not in ("", "/") else "/act"
        target = f"{path}?{self._parts.query}" if self._parts.query else path
        try:
            connection.request("POST", target, body, {"Content-Type": "application/json"})
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: letters that no address has
            raise PolicyError(f"The server {self.url} cannot be reached, or is gone: {error}.") from error

    def _reply(self, connection: http.client.HTTPConnection) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        try:
            response = connection.getresponse()
            content = b""
            while part := response.read1(1 << 16):
                content += part
                if time.monotonic() > deadline:
                    raise TimeoutError
                if len(content) > MAX_REPLY_BYTES:
                    raise PolicyError(f"The server {self.url} answered with more than {MAX_REPLY_BYTES} bytes.")
        except TimeoutError as error:
            raise PolicyError(
                f"The server {self.url} did not answer within {self._timeout_s:g} s; give it longer with --timeout-s."
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise PolicyError(f"The server {self.url} is gone: {error or type(error).__name__}.") from error
        if response.status != http.HTTPStatus.OK:
            raise PolicyError(f"The server {self.url} answered {response.status} {response.reason}.")
        return content

    def _actions(self, content: bytes) -> FloatArray:
        try:
            answer = from_json(json.loads(content))
            if isinstance(answer, str) and answer != "error":  # encoded twice
                answer = from_json(json.loads(answer))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PolicyError(f"What the server {self.url} answered cannot be read: {error}.") from error
        if isinstance(answer, str):
            raise PolicyError(
                f"The server {self.url} answered {answer[:80]!r} in place of actions; its own output says what failed."
            )
        return gripper_from_openvla(check_actions(answer, f"The server {self.url}", self.replan_steps))


def to_json(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """An array as json_numpy writes it."""
    content = base64.b64encode(array.tobytes()).decode()
    return {"__numpy__": content, "dtype": array.dtype.str, "shape": list(array.shape)}


def from_json(value: Any) -> Any:
    """The value with arrays in place of what json_numpy writes for them.

    Raises:
        ValueError: An array that is not what it says.
        KeyError: One without type or shape.
    """
    if isinstance(value, list):
        return [from_json(each) for each in value]
    if isinstance(value, dict) and "__numpy__" in value:
        try:
            content = base64.b64decode(value["__numpy__"], validate=True)
        except binascii.Error as error:
            raise ValueError(f"an array that is not base64 ({error})") from error
        return array_of(content, value["dtype"], value["shape"])
    return value
