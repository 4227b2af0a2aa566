"""A chat server for tests: it answers from a script, keeps what it was asked, and misbehaves as told."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.helpers.policy_server import in_a_thread

Behaviour = Callable[["Handler"], None]


def completion(text: str | None, **more: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    message = {"role": "assistant", "content": text} | more.pop("message", {})
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served-model",
        "choices": [{"index": 0, "message": message, "finish_reason": more.pop("finish_reason", "stop")}],
        "usage": {"prompt_tokens": 5000, "completion_tokens": 700, "total_tokens": 5700},
    } | more


def says(text: str | None, **more: Any) -> Behaviour:
    return sends(json.dumps(completion(text, **more)))


def sends(body: str, status: int = 200, headers: dict[str, str] | None = None) -> Behaviour:
    def behave(handler: Handler) -> None:
        data = body.encode()
        handler.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            handler.send_header(name, value)
        handler.end_headers()
        with contextlib.suppress(OSError):  # the client may hang up on a body that is too large
            handler.wfile.write(data)

    return behave


def fails(status: int, message: str = "no", headers: dict[str, str] | None = None) -> Behaviour:
    """An error; where another attempt may do, after a wait that a test can afford."""
    return sends(json.dumps({"error": {"message": message}}), status, {"Retry-After": "0.01", **(headers or {})})


def hangs(seconds: float) -> Behaviour:
    def behave(handler: Handler) -> None:
        time.sleep(seconds)

    return behave


def drips(seconds: float, *, headers: bool = False) -> Behaviour:
    """One byte at a time, each soon enough for a limit on reads alone: of the body, or of a header without end."""

    def behave(handler: Handler) -> None:
        if headers:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        else:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
        end = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                handler.wfile.write(b"x" if headers else b" ")
                handler.wfile.flush()
                time.sleep(0.02)

    return behave


def writes(data: bytes) -> Behaviour:
    """These bytes in place of an answer of HTTP, then the end of the connection."""

    def behave(handler: Handler) -> None:
        with contextlib.suppress(OSError):
            handler.wfile.write(data)
        handler.close_connection = True

    return behave


def hangs_up(handler: Handler) -> None:
    handler.close_connection = True


def takes_only(
    accepts: Callable[[dict[str, Any]], bool], then: Behaviour, complaint: str = "unknown field"
) -> Behaviour:
    """Refuses with 400 what does not suit it."""

    def behave(handler: Handler) -> None:
        (then if accepts(handler.server.requests[-1]) else fails(400, complaint))(handler)

    return behave


def padded(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """A document as the author's schema has it: every field written, at its default or null where it had none."""
    schema = resolved(schema, root)
    if isinstance(value, list):
        return [padded(item, schema["items"], root) for item in value]
    if not isinstance(value, dict):
        return value
    fields = next(each for each in _objects(schema, root) if _fits(value, each))
    usual = {"after": [], "while": [], "maintain": [], "latch": "once", "hold_steps": 1, "rationale": "", "axes": "xyz"}
    return {name: padded(value[name], fields[name], root) if name in value else usual.get(name) for name in fields}


def resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _objects(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    schema = resolved(schema, root)
    for option in schema.get("anyOf", ()):
        yield from _objects(option, root)
    if "properties" in schema:
        yield schema["properties"]


def _fits(value: dict[str, Any], fields: dict[str, Any]) -> bool:
    return value.keys() <= fields.keys() and value.get("op") in fields.get("op", {}).get("enum", [None])


class Handler(BaseHTTPRequestHandler):
    server: FakeChat
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(json.loads(body))
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        script = self.server.script
        behave = script.pop(0) if len(script) > 1 else script[0]
        behave(self)

    def log_message(self, *args: object) -> None:
        pass


class FakeChat(ThreadingHTTPServer):
    """Answers with one behaviour after another, the last one for good."""

    daemon_threads = True

    def __init__(self, *script: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = list(script)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    def handle_error(self, *args: object) -> None:
        """A client that hung up is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextlib.contextmanager
def serving(*script: Behaviour) -> Iterator[FakeChat]:
    server = FakeChat(*script)
    with in_a_thread(server):
        yield server
