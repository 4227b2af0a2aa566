"""Finds the spec in a reply: JSON alone, in a fence or amid prose; refuses what is too large or not plain JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from tgrpo_envs.errors import SpecError

MAX_REPLY_CHARS = 65_536
MAX_NESTING = 32  # a spec nests 8 deep
MAX_STARTS = 64  # places in prose where a spec may begin

_CONTENT_KEY = "stages"
_FENCE = re.compile(r"```[a-zA-Z0-9_-]*\s*\n(.*?)```", re.DOTALL)
_BRACKET_OR_STRING = re.compile(r'[\[\]{}]|"(?:\\.|[^"\\])*"')


def extract_document(reply: str) -> dict[str, Any]:
    """The JSON object of a reply, with fields that are null left out.

    Strict output schemas make a model write every field and null where it has nothing to say; leaving those out turns
    that form into the ordinary one.

    Raises:
        SpecError: The reply is empty, too long, or holds no JSON object; the message says where parsing stopped.
    """
    if len(reply) > MAX_REPLY_CHARS:
        raise SpecError(
            f"The reply has {len(reply)} characters, at most {MAX_REPLY_CHARS} are read; ask for the spec alone."
        )
    found, problem = _whole_documents(reply)
    amid_prose = (document for document in _embedded(reply) if _CONTENT_KEY in document)
    chosen = next((document for document in found if _CONTENT_KEY in document), None) or next(amid_prose, None)
    if chosen is None and not found:
        raise SpecError(f"The reply is not one JSON object ({problem}); reply with the spec alone, as JSON.")
    document: dict[str, Any] = _without_nulls(chosen or found[0])
    return document


def parse_json(text: str) -> Any:
    """Plain JSON: no NaN or infinity, no key twice, no bottomless nesting.

    Raises:
        ValueError: The text is anything else.
    """
    _check_nesting(text)
    return _DECODER.decode(text.strip())


def _whole_documents(reply: str) -> tuple[list[dict[str, Any]], str]:
    """Objects that fill the reply or a fence, and why the first of the other texts is none."""
    found, problems = [], []
    for text in [*_FENCE.findall(reply), reply]:
        try:
            document = parse_json(text)
        except ValueError as error:
            problems.append(str(error))
            continue
        if isinstance(document, dict):
            found.append(document)
        else:
            problems.append(f"it is a JSON {type(document).__name__}, not an object")
    return found, next(iter(problems), "")


def _embedded(text: str) -> Iterator[dict[str, Any]]:
    """Objects that start at any brace."""
    try:
        _check_nesting(text)
    except ValueError:
        return
    start = text.find("{")
    for _ in range(MAX_STARTS):
        if start < 0:
            return
        try:
            document, end = _DECODER.raw_decode(text, start)
        except ValueError:
            end = start + 1
        else:
            yield document
        start = text.find("{", end)


def _check_nesting(text: str) -> None:
    depth = 0
    for match in _BRACKET_OR_STRING.finditer(text):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(match.group(), 0)
        if depth > MAX_NESTING:
            raise ValueError(f"nested deeper than {MAX_NESTING}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant, object_pairs_hook=_unique)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
