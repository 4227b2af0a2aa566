"""A hub of one repository on this machine, for tests: the few addresses that downloading a snapshot asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

from tests.helpers.policy_server import in_a_thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "somebody/tiny-openvla"


class Answering(BaseHTTPRequestHandler):
    """Says nothing on the terminal, and answers with what it is given."""

    def reply(self, status: int, content: bytes, headers: dict[str, str], with_body: bool = True) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Nothing on the terminal."""


class Hub(Answering):
    """Serves `folder` as REPOSITORY at COMMIT (branch main); `somebody/gated` asks for consent."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        path = unquote(urlparse(self.path).path)
        self.asked.append(path)
        if path.startswith("/api/models/somebody/gated"):
            self.reply(403, b"{}", {"X-Error-Code": "GatedRepo"}, with_body)
        elif not path.startswith((f"/api/models/{REPOSITORY}/", f"/{REPOSITORY}/resolve/{COMMIT}/")):
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
        elif path == f"/api/models/{REPOSITORY}/revision/main" or path.endswith(f"/revision/{COMMIT}"):
            self.reply(200, json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": []}).encode(), {}, with_body)
        elif "/revision/" in path:
            self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, with_body)
        elif "/tree/" in path:
            self.reply(200, json.dumps([self.entry(file) for file in self.files()]).encode(), {}, with_body)
        else:
            content = (self.folder / path.rpartition(f"/{COMMIT}/")[2]).read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            self.reply(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}, with_body)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def entry(self, file: Path) -> dict[str, str | int]:
        name = file.relative_to(self.folder).as_posix()
        return {
            "type": "file",
            "path": name,
            "size": file.stat().st_size,
            "oid": hashlib.sha1(name.encode()).hexdigest(),
        }


@contextmanager
def serving(handler: type[Answering], **attributes: object) -> Iterator[str]:
    """The address of a server of this machine, whose handlers have these attributes."""
    with in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), attributes))) as url:
        yield url


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(address, what was asked for so far) of a hub that serves a folder."""
    asked: list[str] = []
    with serving(Hub, folder=folder, asked=asked) as address:
        yield address, asked
