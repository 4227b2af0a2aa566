"""A hub on this machine that takes commits, for tests: the addresses that making a repository and uploading ask for."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse

from tests.helpers.hub_server import Answering, serving

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


class UploadHub(Answering):
    """Keeps in `repositories`, by name, whether each is private, and its files; `token` must be shown."""

    repositories: dict[str, dict[str, Any]]
    token: str

    def do_HEAD(self) -> None:
        name, _, path = urlparse(self.path).path.removeprefix("/").partition("/resolve/main/")
        found = path in self.repositories.get(name, {"files": {}})["files"]
        headers = {"X-Repo-Commit": COMMIT, "ETag": '"1"'} if found else {"X-Error-Code": "EntryNotFound"}
        self.reply(200 if found else 404, b"", headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = urlparse(self.path).path
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            self.answer(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}"
            self.repositories.setdefault(name, {"private": given["visibility"] == "private", "files": {}})
            self.answer(200, {"url": f"http://{self.headers['Host']}/{name}", "name": name})
        elif path == "/api/validate-yaml":  # of a page's heading
            self.answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [{"path": one["path"], "uploadMode": "regular"} for one in json.loads(body)["files"]]
            self.answer(200, {"files": [{**one, "shouldIgnore": False} for one in files]})
        else:
            name = path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.repositories[name]["files"][line["value"]["path"]] = content
            address = f"http://{self.headers['Host']}/{name}/commit/{COMMIT}"
            self.answer(200, {"commitUrl": address, "commitOid": COMMIT, "success": True})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        self.reply(status, json.dumps(body).encode(), {})


@contextmanager
def serve_uploads(token: str) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """(address, what it keeps) of an empty hub."""
    repositories: dict[str, dict[str, Any]] = {}
    with serving(UploadHub, repositories=repositories, token=token) as address:
        yield address, repositories
