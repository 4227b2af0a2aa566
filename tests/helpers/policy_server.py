"""Servers on the loopback that answer as policies do: openpi's websocket and OpenVLA's /act, well or badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def in_a_thread(server: ThreadingHTTPServer) -> Iterator[str]:
    """The URL of a server that answers meanwhile."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def act_server(answer: Callable[[dict[str, Any]], bytes]) -> Iterator[str]:
    """POST /act with what `answer` makes of the question's JSON; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/act"
            content = answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked has given up
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


class Replaying:
    """Answers one connection with recorded actions, `chunk` at a time, and keeps the questions."""

    def __init__(self, actions_SA: Any, chunk: int, questions: list[Any]) -> None:
        self.actions_SA, self.chunk, self.questions, self.played = actions_SA, chunk, questions, 0

    def act(self, question: Any) -> Any:
        self.questions.append(question)
        self.played += self.chunk
        return self.actions_SA[self.played - self.chunk : self.played]
