"""Turns pydantic's errors about a spec file into plain words with the path inside the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tgrpo_envs.rewards.predicates import PREDICATES
from tgrpo_envs.rewards.ramps import RAMPS
from tgrpo_envs.rewards.vocabulary import CONNECTIVES, MODELS
from tgrpo_envs.rewards.words import SpecModel

MAX_SHOWN = 5
MAX_VALUE_CHARS = 60

_EXPECTED_TYPES = {
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "a text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
}


def explain(error: ValidationError, source: str, root: dict[str, type[SpecModel]]) -> str:
    """One message for a rejected spec: the source, then a line per fault (the first five).

    Args:
        error: What pydantic raised.
        source: File name, or other name of the text's origin.
        root: Models by the first key of their path ("" for the document itself), to name the allowed keys.
    """
    found = faults(error, root)
    lines = [fault.line for fault in found[:MAX_SHOWN]]
    if len(found) > MAX_SHOWN:
        lines.append(f"and {len(found) - MAX_SHOWN} more")
    return "\n  ".join([f"{source} is not a valid stage spec:", *lines])


@dataclass(frozen=True)
class SpecFault:
    """One fault of a rejected spec: pydantic's name for it, and path and complaint in plain words."""

    kind: str
    line: str


def faults(error: ValidationError, root: dict[str, type[SpecModel]]) -> list[SpecFault]:
    """Every fault of a rejected spec; see `explain`."""
    every = error.errors(include_url=False)
    return [SpecFault(fault["type"], _fault(fault, root)) for fault in every if not _is_consequence(fault, every)]


def near_matches(got: object, allowed: Iterable[str]) -> str:
    """A hint after an unknown word: the nearest allowed words, or all of them."""
    words = list(allowed)
    near = difflib.get_close_matches(str(got), words, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"choose one of {', '.join(words)}"


def path_text(loc: Iterable[int | str]) -> str:
    """``stages[2].done.all[0].within_m`` from pydantic's location; union tags (``op:near``) are left out."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not part.startswith("op:"):
            text += f".{part}" if text else part
    return text


def _is_consequence(fault: ErrorDetails, every: list[ErrorDetails]) -> bool:
    """Pydantic drops faulty entries before it counts a list, so it also calls the list too short."""
    loc = fault["loc"]
    return fault["type"] == "too_short" and any(e["loc"][: len(loc)] == loc for e in every if e is not fault)


def _fault(fault: ErrorDetails, root: dict[str, type[SpecModel]]) -> str:
    kind, loc, context = fault["type"], fault["loc"], fault.get("ctx", {})
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _unknown_op(path_text(loc), fault["input"], is_ramp=loc[-1] == "ramp")
    if kind == "extra_forbidden":
        return f"{path_text(loc)}: unknown key, {near_matches(loc[-1], _allowed_keys(loc[:-1], root))}"
    what = _complaint(kind, _shown(fault["input"]), context, fault["msg"])
    where = path_text(loc)
    return f"{where}: {what}" if where else what


def _complaint(kind: str, got: str, context: dict[str, Any], message: str) -> str:
    if kind == "missing":
        return "missing"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"got {got}, {words} {_number(context[key])}"
    if kind in _EXPECTED_TYPES:
        return f"got {got}, expected {_EXPECTED_TYPES[kind]}"
    if kind == "literal_error":
        return f"got {got}, expected {context['expected']}"
    if kind == "string_pattern_mismatch":
        return f"got {got}, expected lower-case ASCII letters, digits and underscores, a letter first"
    if kind in ("too_long", "too_short"):
        bound = f"at most {context['max_length']}" if kind == "too_long" else f"at least {context['min_length']}"
        return f"has {context['actual_length']} entries, {bound}"
    return message


def _unknown_op(where: str, got: Any, *, is_ramp: bool) -> str:
    words = RAMPS if is_ramp else PREDICATES
    if isinstance(got, dict) and "op" in got:
        return f"{where}.op: unknown op {_shown(got['op'])}, {near_matches(got['op'], words)}"
    also = "" if is_ramp else f" (or {', '.join(CONNECTIVES)})"
    return f'{where}: got {_shown(got)}, expected an object with an "op"{also}: {", ".join(words)}'


def _allowed_keys(loc: tuple[int | str, ...], root: dict[str, type[SpecModel]]) -> list[str]:
    last = loc[-1] if loc else ""
    if isinstance(last, str) and last.startswith("op:"):
        model: type[SpecModel] = MODELS[last.removeprefix("op:")]
    else:
        model = root[str(loc[0]) if loc else ""]
    return [field.alias or name for name, field in model.model_fields.items()]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 3] + "..."


def _number(value: float) -> str:
    return f"{value:.2f}" if isinstance(value, float) and round(value, 2) == value else f"{value:g}"
