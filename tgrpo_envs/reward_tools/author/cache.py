"""Replies on disk, by the hash of what was asked: the same question is not paid for twice, and no reply is lost."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tgrpo_envs.files import read_json, write_atomically
from tgrpo_envs.reward_tools.author.answer import Answer
from tgrpo_envs.reward_tools.author.redaction import clean


class ReplyCache:
    """A folder of replies.

    Args:
        folder: Where they are kept.
        refresh: Ask again even where a reply is kept; the new one replaces it.
    """

    def __init__(self, folder: Path, *, refresh: bool = False) -> None:
        self._folder = folder
        self._refresh = refresh

    def get(self, question: dict[str, Any]) -> tuple[Answer, str] | None:
        """The kept reply to a question and the form it was asked in, or None."""
        if self._refresh:
            return None
        try:
            kept = read_json(self._path(question))
            return Answer.model_validate(clean(kept["answer"])), str(kept["form"])
        except (OSError, ValueError, TypeError, KeyError):
            return None  # none there, or not readable: asking again is always right

    def put(self, question: dict[str, Any], answer: Answer, form: str) -> None:
        """Keep a reply."""
        document = {"question": question, "form": form, "answer": answer.model_dump()}
        write_atomically(self._path(question), json.dumps(document, indent=1) + "\n")

    def _path(self, question: dict[str, Any]) -> Path:
        key = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
        return self._folder / key[:2] / f"{key}.json"
