"""Keeps API keys out of messages and files, though servers repeat them in their errors, however they spell them."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

KEY_VARIABLE = "OPENAI_API_KEY"
URL_VARIABLE = "OPENAI_BASE_URL"
MARK = "[key]"
_WORD_KEY_CHARS, _MIN_KEY_CHARS = 8, 4  # a short key is replaced as a whole word only, lest it blots out parts of words

_LOOKS_LIKE_KEY = re.compile(r"\bsk-[A-Za-z0-9*_\-]{6,}|(?i:bearer)\s+[A-Za-z0-9._~+/=*\-]{6,}")


def redact(text: str) -> str:
    """The text without the secrets of this process, and without anything that looks like a key.

    Cut a text after this, never before: half a key would not be found.
    """
    return _redact(text, _patterns())


def clean(value: Any) -> Any:
    """JSON of a stranger, fit for our files: every text redacted, and lone surrogates, which UTF-8 lacks, as ``?``."""
    return _clean(value, _patterns())


def is_url(text: str) -> bool:
    """Whether a text is the address of a web server."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def public_url(url: str) -> str:
    """A server's address without user, password and query."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}".rstrip("/")


def _clean(value: Any, patterns: Sequence[re.Pattern[str]]) -> Any:
    if isinstance(value, str):
        return _redact(value.encode("utf-8", errors="replace").decode("utf-8"), patterns)
    if isinstance(value, dict):
        return {_clean(key, patterns): _clean(item, patterns) for key, item in value.items()}
    return [_clean(item, patterns) for item in value] if isinstance(value, list) else value


def _redact(text: str, patterns: Sequence[re.Pattern[str]]) -> str:
    for pattern in patterns:
        text = pattern.sub(MARK, text)
    return text


def _patterns() -> tuple[re.Pattern[str], ...]:
    return (*map(_spellings, _secrets()), _LOOKS_LIKE_KEY)


def _secrets() -> Iterator[str]:
    """The key, and what of the address is secret: password and query."""
    url = os.environ.get(URL_VARIABLE, "")
    parts = urlsplit(url) if is_url(url) else urlsplit("")
    values = [os.environ.get(KEY_VARIABLE, ""), parts.password or "", *(value for _, value in parse_qsl(parts.query))]
    return (value for value in {*values, *map(unquote, values)} if len(value) >= _MIN_KEY_CHARS)


@functools.lru_cache
def _spellings(secret: str) -> re.Pattern[str]:
    """The secret with any of its characters escaped as JSON, Python, addresses or HTML do."""
    one = "".join(_spelling(character) for character in secret)
    return re.compile(one if len(secret) >= _WORD_KEY_CHARS else rf"(?<![A-Za-z0-9_]){one}(?![A-Za-z0-9_])")


def _spelling(character: str) -> str:
    code, escapes = ord(character), r"\\{1,8}"
    numbers = rf"{escapes}u{code:04x}|{escapes}x{code:02x}|%{code:02x}|&#0*{code};|&#x0*{code:x};"
    return rf"(?:(?:{escapes})?{re.escape(character)}|(?i:{numbers}))"
