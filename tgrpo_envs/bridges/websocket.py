"""A policy server on a websocket: connections, messages each way, and one sentence where it does not play along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tgrpo_envs.errors import PolicyError
from tgrpo_envs.extras import needs_extra

with needs_extra("bridges"):
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import ClientConnection, connect

MAX_REPLY_BYTES = 64 * 1024**2


class WebsocketServer:
    """Where a server is, and how long it may think.

    Args:
        url: ``ws://host:port`` or ``wss://...``.
        timeout_s: How long to wait for an answer, and for a connection.
        headers: Sent with the request for a connection.
    """

    def __init__(self, url: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> None:
        self.url, self._timeout_s, self._headers = url, timeout_s, headers

    def connect(self) -> ClientConnection:
        """A connection; `close` ends it.

        Raises:
            PolicyError: Nobody answers there.
        """

        # Without pings: a server that computes in its event loop does not answer them, some for minutes at first.
        def enter() -> ClientConnection:  # the form that all versions have
            return connect(
                self.url,
                compression=None,
                max_size=MAX_REPLY_BYTES,
                additional_headers=self._headers,
                open_timeout=self._timeout_s,
                close_timeout=1.0,
                ping_interval=None,
                proxy=None,
            ).__enter__()

        return self._trying(enter)

    def send(self, connection: ClientConnection, content: bytes) -> None:
        """Send a message.

        Raises:
            PolicyError: The server is gone.
        """
        self._trying(lambda: connection.send(content))

    def receive(self, connection: ClientConnection, expected: str = "") -> bytes | str:
        """The next message.

        Args:
            connection: Where.
            expected: What it has to be, a sentence for the error where none comes.

        Raises:
            PolicyError: None came in time, or the server is gone.
        """
        message: bytes | str = self._trying(lambda: connection.recv(timeout=self._timeout_s), expected)
        return message

    def _trying(self, call: Callable[[], Any], expected: str = "") -> Any:
        try:
            return call()
        except TimeoutError as error:
            silence = f"The server {self.url} said nothing for {self._timeout_s:g} s"
            raise PolicyError(f"{silence}; give it longer with --timeout-s.{expected}") from error
        except (WebSocketException, OSError, EOFError, ValueError) as error:
            raise PolicyError(f"The server {self.url} cannot be reached, or is gone: {error}.") from error
