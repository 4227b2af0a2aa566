"""Reads the answer of a chat server, of which any part may be missing or of another type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

from tgrpo_envs.errors import AuthorError
from tgrpo_envs.reward_tools.author.ledger import estimate_tokens
from tgrpo_envs.reward_tools.author.provenance import Usage
from tgrpo_envs.reward_tools.author.redaction import redact
from tgrpo_envs.reward_tools.author.reply import MAX_REPLY_CHARS, parse_json

SHOWN_CHARS = 500  # of what a server says, in our messages


@dataclass(frozen=True)
class Answer:
    """A model's reply.

    Attributes:
        text: What it wrote, or the arguments of its tool call; at most `MAX_REPLY_CHARS` are kept.
        refusal: Its words where it refused.
        finish_reason: Why it stopped: ``stop``, ``length``, ``content_filter``, ``tool_calls``.
        model: The model's name as the server gave it.
        response_id: The server's id.
        usage: Tokens.
    """

    text: str
    refusal: str | None
    finish_reason: str | None
    model: str
    response_id: str | None
    usage: Usage


def read_answer(body: str, prompt_chars: int, model: str) -> Answer:
    """The parts of a chat completion that matter; anything may be missing or of another type.

    Raises:
        AuthorError: The body is no chat completion.
    """
    try:
        document = parse_json(body)
        choice = document["choices"][0]
        message = choice["message"]
        text = _text(message.get("content")) or _tool_arguments(message)
        refusal = _text(message.get("refusal")) or None
        finish_reason = _text(choice.get("finish_reason")) or None
    except (ValueError, LookupError, TypeError, AttributeError):
        shown = redact(" ".join(body[:SHOWN_CHARS].split()))
        raise AuthorError(f"The server's answer is no chat completion: {shown!r}. Check OPENAI_BASE_URL.") from None
    text = redact(text[: MAX_REPLY_CHARS + 1])  # one more than allowed, so that it is known to be too long
    return Answer(
        text=text,
        refusal=redact(refusal[:SHOWN_CHARS]) if refusal else None,
        finish_reason=finish_reason,
        model=_text(document.get("model")) or model,
        response_id=_text(document.get("id")) or None,
        usage=_usage(document.get("usage"), prompt_chars, len(text)),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _tool_arguments(message: dict[str, Any]) -> str:
    calls = message.get("tool_calls") or []
    return _text(calls[0]["function"]["arguments"]) if calls else ""


def _usage(given: object, prompt_chars: int, reply_chars: int) -> Usage:
    """The server's count where it makes sense, else an estimate from characters."""
    fields = given if isinstance(given, dict) else {}
    prompt, completion = fields.get("prompt_tokens"), fields.get("completion_tokens")
    if not _is_count(prompt) or not _is_count(completion):
        return Usage(
            prompt_tokens=estimate_tokens(prompt_chars),
            completion_tokens=estimate_tokens(reply_chars),
            estimated=True,
        )
    details = fields.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached if _is_count(cached) else 0)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
