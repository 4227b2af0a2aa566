"""A writer of specs on a folder of its own, asking a fake chat server, and what it asks for and is answered."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.fake_chat import FakeChat
from tgrpo_envs.reward_tools.author.client import ChatServer, Limits
from tgrpo_envs.reward_tools.author.generate import Outcome, SpecWriter
from tgrpo_envs.reward_tools.author.ledger import Accounts
from tgrpo_envs.reward_tools.author.provenance import Provenance
from tgrpo_envs.rewards.shipped import provenance_path
from tgrpo_envs.tasks import Task, get_task

MILK = get_task("libero_object", "pick_up_the_milk_and_place_it_in_the_basket")
GOOD = (resources.files("tgrpo_envs.reward_tools.author") / "prompts/examples/object_milk_in_basket.json").read_text()
SECRET = "sk-test-4242-do-not-tell"


def changed(**fields: Any) -> str:
    return json.dumps(json.loads(GOOD) | fields)


class Run:
    """A writer on a folder of its own."""

    def __init__(self, folder: Path, server: FakeChat, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        limits = Limits(timeout_s=settings.pop("timeout_s", 60.0))
        self.work, self.out = folder / "work", folder / "out"
        self.accounts = Accounts(
            self.work / "ledger.jsonl",
            max_calls=settings.pop("max_calls", 50),
            max_tokens=settings.pop("max_tokens", 10**7),
        )
        self.server = ChatServer("asked-model", self.accounts, limits)
        settings = {"samples": 1, "refresh": False} | settings
        self.writer = SpecWriter(self.server, self.accounts, self.work, self.out, **settings)

    def write(self, *tasks: Task) -> list[Outcome]:
        return list(self.writer.write_all(tasks or (MILK,)))

    @property
    def ledger(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.work / "ledger.jsonl").read_text().splitlines()]

    @property
    def provenance(self) -> Provenance:
        return Provenance.model_validate_json(provenance_path(MILK, self.out).read_text())

    def all_text(self) -> str:
        return "\n".join(
            path.read_text() for root in (self.work, self.out) for path in root.rglob("*") if path.is_file()
        )
