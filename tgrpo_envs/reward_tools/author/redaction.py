"""Keeps API keys out of messages and files, though servers repeat them in their errors."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

KEY_VARIABLE = "OPENAI_API_KEY"
MARK = "[key]"
_MIN_KEY_CHARS = 8  # shorter values, as some local servers want them, would blot out ordinary words

_LOOKS_LIKE_KEY = re.compile(r"\bsk-[A-Za-z0-9*_\-]{6,}|(?i:bearer)\s+[A-Za-z0-9._~+/=*\-]{6,}")


def redact(text: str) -> str:
    """The text without the key of this process, and without anything that looks like one."""
    key = os.environ.get(KEY_VARIABLE, "")
    if len(key) >= _MIN_KEY_CHARS:
        text = text.replace(key, MARK)
    return _LOOKS_LIKE_KEY.sub(MARK, text)


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
