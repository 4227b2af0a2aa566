"""Reads the answer of a chat server, of which any part may be missing or of another type."""

from __future__ import annotations

import json
from typing import Any, TypeGuard

from tgrpo_envs.base_settings import Frozen
from tgrpo_envs.errors import AuthorError
from tgrpo_envs.reward_tools.author.ledger import most_tokens
from tgrpo_envs.reward_tools.author.provenance import Usage
from tgrpo_envs.reward_tools.author.redaction import clean, redact
from tgrpo_envs.reward_tools.author.reply import MAX_REPLY_CHARS, parse_json

SHOWN_CHARS = 500  # of what a server says, in our messages
_CUT = "length"  # a finish reason


class Answer(Frozen):
    """A model's reply.

    Attributes:
        text: What it wrote, else the arguments of its tool call, else its reasoning, if that came to an end; at most
            `MAX_REPLY_CHARS` + 1.
        refusal: Its words where it refused.
        finish_reason: Why it stopped: ``stop``, ``length``, ``content_filter``, ``tool_calls``.
        model: The model's name as the server gave it.
        fingerprint: The server's name for its own version and settings.
        response_id: The server's id.
        usage: Tokens.
    """

    text: str
    refusal: str | None = None
    finish_reason: str | None = None
    model: str
    fingerprint: str | None = None
    response_id: str | None = None
    usage: Usage

    @property
    def is_cut(self) -> bool:
        """Whether it reached the limit on its length."""
        return self.finish_reason == _CUT


def read_answer(body: str, prompt_tokens: int, model: str) -> Answer:
    """The parts of a chat completion that matter, without keys.

    Args:
        body: What the server sent.
        prompt_tokens: What counts for the prompt where the server counts nothing.
        model: What counts for the model's name where the server gives none.

    Raises:
        AuthorError: The body is no chat completion.
    """
    try:
        document = clean(parse_json(body))
        choice = document["choices"][0]
        message = choice["message"]
        written = [message.get("content"), _tool_arguments(message)]
        thought = [message.get("reasoning_content"), message.get("reasoning")]
    except (ValueError, LookupError, TypeError, AttributeError):
        shown = " ".join(redact(body).split())[:SHOWN_CHARS]
        raise AuthorError(f"The server's answer is no chat completion: {shown!r}. Check OPENAI_BASE_URL.") from None
    finish_reason = _name(choice.get("finish_reason"))
    said = [text for text in map(_text, written) if text.strip()]
    thoughts = [text for text in map(_text, thought) if text.strip()]
    # Some servers leave the spec among the thoughts, beside a word or none; thoughts that were cut off hold drafts.
    texts = [*said, *([] if finish_reason == _CUT else thoughts)]
    text = next((text for text in texts if "{" in text), next(iter(texts), ""))
    return Answer(
        text=text[: MAX_REPLY_CHARS + 1],  # one more than allowed, so that it is known to be too long
        refusal=(_text(message.get("refusal")) or _refusal_part(message.get("content")))[:SHOWN_CHARS] or None,
        finish_reason=finish_reason,
        model=_name(document.get("model")) or model,
        fingerprint=_name(document.get("system_fingerprint")),
        response_id=_name(document.get("id")),
        usage=_usage(document.get("usage"), prompt_tokens, "".join([*said, *thoughts])),
    )


def _text(value: Any) -> str:
    """A text, the texts of a message in parts, or the JSON of what a server has parsed already."""
    if isinstance(value, list):
        return "".join(map(_text, value))
    if isinstance(value, dict):
        given = {"text", "refusal", "value", "thinking"} & value.keys()
        return _text(value.get("text", value.get("value"))) if given else json.dumps(value)
    return value if isinstance(value, str) else ""


def _refusal_part(content: Any) -> str:
    parts = content if isinstance(content, list) else []
    return next((_text(part["refusal"]) for part in parts if isinstance(part, dict) and "refusal" in part), "")


def _tool_arguments(message: dict[str, Any]) -> Any:
    try:
        return message["tool_calls"][0]["function"]["arguments"]
    except (LookupError, TypeError):
        return None


def _name(value: Any) -> str | None:
    return value[:SHOWN_CHARS] if isinstance(value, str) and value else None


def _usage(given: object, prompt_tokens: int, text: str) -> Usage:
    """The server's count where it makes sense, else the most that it can have been."""
    fields = given if isinstance(given, dict) else {}
    prompt, completion = fields.get("prompt_tokens"), fields.get("completion_tokens")
    if not _is_count(prompt) or not _is_count(completion):
        return Usage(prompt_tokens=prompt_tokens, completion_tokens=most_tokens(text), estimated=True)
    details = fields.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached if _is_count(cached) else 0)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
