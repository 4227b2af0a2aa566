"""Serving a policy in openpi's protocol, so that its clients can ask it for actions."""

from __future__ import annotations

import hmac
import http
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from tgrpo_envs.bridges.numpy_msgpack import pack, unpack
from tgrpo_envs.errors import ConfigError, TgrpoError
from tgrpo_envs.extras import needs_extra

with needs_extra("bridges"):
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
    from websockets.sync.server import Server, ServerConnection, serve

MAX_QUESTION_BYTES = 16 * 1024**2


class Player(Protocol):
    """What answers the questions of one connection."""

    def act(self, question: Mapping[str, Any]) -> Any:
        """Actions (C, 7) for an observation under openpi's keys.

        Raises:
            TgrpoError: The question cannot be answered.
        """


@contextmanager
def serving(
    make_player: Callable[[], Player],
    *,
    host: str,
    port: int,
    metadata: Mapping[str, Any],
    api_key: str | None = None,
) -> Iterator[Server]:
    """A server that listens; `serve_forever` of what is yielded serves until the block is left.

    Args:
        make_player: Makes what answers a new connection.
        host: Address to listen on.
        port: 0 takes a free one; `socket.getsockname()` of the server says which.
        metadata: Sent to every client first.
        api_key: What clients must send as ``Authorization: Api-Key ...``; None asks for nothing.

    Raises:
        ConfigError: The address cannot be listened on.
    """

    def check(connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        given = request.headers.get("Authorization", "")
        if api_key is not None and not hmac.compare_digest(given.encode(), f"Api-Key {api_key}".encode()):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "This server asks for an API key.\n")
        return None

    def handle(connection: ServerConnection) -> None:
        try:
            _answer_all(connection, make_player(), metadata)
        except ConnectionClosed:
            return

    try:
        server = serve(
            handle,
            host,
            port,
            compression=None,
            max_size=MAX_QUESTION_BYTES,
            process_request=check,
            ping_interval=None,
        )
    except (OSError, OverflowError, ValueError) as error:  # a port or a name that there cannot be
        raise ConfigError(f"{host}:{port} cannot be listened on ({error}); give another --port or --host.") from error
    with server:
        yield server


@contextmanager
def serving_in_a_thread(make_player: Callable[[], Player], **options: Any) -> Iterator[str]:
    """The same while the block runs, in a thread of its own; yields the URL."""
    with serving(make_player, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host, port = server.socket.getsockname()[:2]
        try:
            yield f"ws://{host}:{port}"
        finally:
            server.shutdown()
            thread.join()


def _answer_all(connection: ServerConnection, player: Player, metadata: Mapping[str, Any]) -> None:
    connection.send(pack(dict(metadata)))
    for content in connection:
        try:
            if isinstance(content, str):
                raise ConfigError("A question came as text; openpi's are binary messages.")
            question = unpack(content)
            if not isinstance(question, dict):
                raise ConfigError(f"A question is a dictionary, not a {type(question).__name__}.")
            started = time.perf_counter()
            answer = {"actions": player.act(question)}
            timing = {"server_timing": {"infer_ms": 1000.0 * (time.perf_counter() - started)}}
            connection.send(pack(answer | timing))
        except TgrpoError as error:
            connection.send(str(error))
            connection.close(1011, "The reason is in the last message.")
            return
