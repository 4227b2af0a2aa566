"""The usage log: limits on calls and tokens, checked before each call, and a JSON line after it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tgrpo_envs.errors import BudgetError
from tgrpo_envs.files import writing
from tgrpo_envs.reward_tools.author.provenance import Usage, now

TEMPLATE_TOKENS = 64  # most that a chat template puts around a message


def most_tokens(text: str) -> int:
    """An upper bound of a text's tokens: no tokenizer makes more than one of a byte of UTF-8.

    Real ones make 0.32 to 0.42 of a byte of our prompts (docs/prompting.md), but differ; a limit must hold for all.
    """
    return len(text.encode("utf-8", errors="replace"))


def most_prompt_tokens(messages: list[dict[str, str]]) -> int:
    """An upper bound of the tokens of a conversation."""
    return sum(most_tokens(message["content"]) + TEMPLATE_TOKENS for message in messages)


@dataclass
class Accounts:
    """What a run may spend and has spent.

    Attributes:
        ledger: File that gets a line for every call; None keeps none.
        max_calls: Requests that may be sent, retries included.
        max_tokens: Tokens of prompts and replies together.
        calls: Requests sent.
        tokens: Tokens counted by the server, or the most it can have been where it did not count.
    """

    ledger: Path | None = None
    max_calls: int = 1000
    max_tokens: int = 5_000_000
    calls: int = 0
    tokens: int = 0
    _context: dict[str, Any] = field(default_factory=dict)

    def about(self, **context: str | int) -> None:
        """What the next lines of the ledger are about: task, sample, round."""
        self._context = context

    def reserve(self, prompt_tokens: int, reply_tokens: int) -> None:
        """Refuse the next request if it could exceed a limit.

        Raises:
            BudgetError: It could; the message names the limit.
        """
        if self.calls >= self.max_calls:
            raise BudgetError(f"The limit of {self.max_calls} calls is reached; raise --max-calls to go on.")
        most = self.tokens + prompt_tokens + reply_tokens
        if most > self.max_tokens:
            raise BudgetError(
                f"{self.tokens} tokens are spent and the next call could make it {most}, more than the limit of "
                f"{self.max_tokens}; raise --max-tokens to go on."
            )
        self.calls += 1

    def record(self, status: str, usage: Usage, latency_s: float, **more: str | int | bool | None) -> None:
        """Count a request that was sent, or an answer that was taken from the cache (`status` ``cached``)."""
        if status != "cached":
            self.tokens += usage.prompt_tokens + usage.completion_tokens
        if self.ledger is None:
            return
        entry = {"time": now(), **self._context, "status": status, "latency_s": round(latency_s, 3), **more}
        entry |= usage.model_dump()
        with writing(self.ledger):
            self.ledger.parent.mkdir(parents=True, exist_ok=True)
            with self.ledger.open("a", encoding="utf-8") as file:  # one write a line: a reader never sees half of one
                file.write(json.dumps(entry) + "\n")
