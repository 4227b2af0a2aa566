"""Finds the spec in a reply: JSON alone, in a fence or amid prose; refuses what is too large or not plain JSON.

A model may draft before it decides, so the last spec counts, and where that one is broken or cut off none does. The
work is bounded by the length of the reply, whatever stands in it.
"""

from __future__ import annotations

import json
import math
import re
import string
from typing import Any

from tgrpo_envs.errors import SpecError
from tgrpo_envs.reward_tools.author.redaction import clean

MAX_REPLY_CHARS = 65_536
MAX_NESTING = 32  # a spec nests 8 deep
MAX_DIGITS = 20
MAX_WORK = 32  # characters that may be read again, as multiples of the reply's length
_FAILURE_CHARS = 256  # what a failed start costs beside the characters it read: its place in lines is counted
_DEEP_CHARS = 400  # where Python's own limit on nesting is met, what starts this near is too deep as well

_CONTENT_KEY = "stages"
_START = re.compile(r"\{(?=\s{0,64}[\"}])")  # of an object; other braces are prose
_QUOTE = "[\"'\u2018\u2019\u201c\u201d\\\\]"  # also those that are none in JSON: a spec may be broken by its quotes
_LIST = r"\s{0,64}(?:\[[^\]\w]{0,64}(?:\{|\Z)|\Z)"  # of objects, or broken off before
_SPEC_START = re.compile(rf"{_QUOTE}{_CONTENT_KEY}{_QUOTE}{{1,2}}\s{{0,64}}:{_LIST}|\b{_CONTENT_KEY}\s{{0,64}}:{_LIST}")
_FENCE_END = "`~"  # all that may follow a spec that ends its reply, beside white space
_THOUGHT_END = "</think>"


class _Fault:
    """Stands in a document for what is not plain JSON, so that the end of the object around it is still found."""

    def __init__(self, why: str) -> None:
        self.why = why


def extract_document(reply: str, *, is_cut: bool = False) -> dict[str, Any]:
    """The last JSON object of a reply that has stages, else the last one, with fields that are null left out.

    Output schemas make a model write every field and null where it has nothing to say; leaving those out turns
    that form into the ordinary one.

    Args:
        reply: What the model wrote.
        is_cut: Whether it was cut off. Then a spec has to end it: one that anything follows may have been a draft.

    Raises:
        SpecError: The reply is too long, holds no JSON object, or goes on to another spec that is none or to its cut;
            the message says where parsing stopped.
    """
    if len(reply) > MAX_REPLY_CHARS:
        raise SpecError(
            f"The reply has {len(reply)} characters, at most {MAX_REPLY_CHARS} are read; ask for the spec alone."
        )
    text = without_thoughts(reply)
    try:
        whole = parse_json(text)
        problem = f"it is a JSON {type(whole).__name__}, not an object"
    except ValueError as error:
        whole, problem = None, str(error)
    found, stopped, end = ([whole], "", len(text)) if isinstance(whole, dict) else _objects(text)
    with_stages = [document for document in found if _CONTENT_KEY in document]
    is_broken = whole is None and bool(_SPEC_START.search(text))  # a spec around the objects found, of which it is none
    if not with_stages and (stopped or not found or is_broken):
        raise SpecError(f"The reply is not one JSON object ({stopped or problem}); reply with the spec alone, as JSON.")
    if with_stages:
        _check_rest(text[end:], stopped, is_cut=is_cut)
    document: dict[str, Any] = clean(_without_nulls((with_stages or found)[-1]))
    return document


def without_thoughts(reply: str) -> str:
    """What follows the thoughts that a model marks; the whole reply where nothing does."""
    answer = reply.rpartition(_THOUGHT_END)[2]
    return answer if answer.strip() else reply


def parse_json(text: str) -> Any:
    """Plain JSON: no NaN or infinity, no key twice, no bottomless nesting.

    Raises:
        ValueError: The text is anything else.
    """
    try:
        document = _DECODER.decode(text.lstrip("\ufeff").strip())
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_NESTING}") from None
    _check(document)
    return document


def _check_rest(rest: str, stopped: str, *, is_cut: bool) -> None:
    """Make sure that the last spec of a reply was its last word.

    Raises:
        SpecError: Another begins after it, or the reply goes on to where it was cut off.
    """
    if _SPEC_START.search(rest):
        why = stopped or "it is no JSON object"
        raise SpecError(f"The last spec of the reply cannot be read ({why}); reply with the spec alone, as JSON.")
    if is_cut and rest.strip(_FENCE_END + string.whitespace):
        raise SpecError("The reply was cut off after a spec that may be a draft; reply with the spec alone, as JSON.")


def _objects(text: str) -> tuple[list[dict[str, Any]], str, int]:
    """The objects in a text, none inside another, and where the last one with stages ends.

    Between them: what is wrong where, since that end, parsing got furthest without an object.
    """
    found: list[dict[str, Any]] = []
    problem, furthest, work, last_end = "", 0, 0, 0
    match = _START.search(text)
    while match and work <= MAX_WORK * len(text):
        start, end = match.start(), match.end()
        try:
            document, end = _DECODER.raw_decode(text, start)
            _check(document)
            found.append(document)
            reached, why = 0, ""
            if _CONTENT_KEY in document:
                problem, furthest, last_end = "", 0, end
        except json.JSONDecodeError as error:
            reached, why = error.pos - start + 1, str(error)
        except RecursionError:
            end = start + _DEEP_CHARS
            reached, why = _DEEP_CHARS, f"nested deeper than {MAX_NESTING}"
        except ValueError as error:
            reached, why = end - start, str(error)
        work += reached + _FAILURE_CHARS * bool(why)
        if reached > furthest:
            problem, furthest = why, reached
        match = _START.search(text, end)
    return found, problem, last_end


def _check(value: Any, depth: int = 0) -> None:
    """Refuse what the decoder let pass.

    Raises:
        ValueError: There is a `_Fault` in it, or it nests too deep.
    """
    if isinstance(value, _Fault):
        raise ValueError(value.why)
    if not isinstance(value, dict | list):
        return
    if depth == MAX_NESTING:
        raise ValueError(f"nested deeper than {MAX_NESTING}")
    for item in value.values() if isinstance(value, dict) else value:
        _check(item, depth + 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Fault:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            return _Fault(f"the key {key[:MAX_DIGITS]!r} stands twice in one object")
        document[key] = value
    return document


def _constant(name: str) -> _Fault:
    return _Fault(f"{name} is not a number")


def _finite(text: str) -> float | _Fault:
    number = float(text)
    return number if math.isfinite(number) else _too_large(text)


def _whole(text: str) -> int | _Fault:
    return int(text) if len(text) <= MAX_DIGITS else _too_large(text)


def _too_large(text: str) -> _Fault:
    return _Fault(f"{text[:MAX_DIGITS]} is too large for a number")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_whole, parse_constant=_constant, object_pairs_hook=_unique)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
