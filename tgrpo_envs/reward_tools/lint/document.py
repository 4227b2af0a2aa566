"""Lint errors of a file's text: what the spec's models refuse, as findings with their place."""

from __future__ import annotations

import re

from pydantic import ValidationError

from tgrpo_envs.reward_tools.lint.finding import Fault, Faults
from tgrpo_envs.rewards.spec import MAX_FILE_BYTES, MODELS_BY_KEY, StageSpec, repeated_key
from tgrpo_envs.rewards.validation_errors import SpecFault, faults

MALFORMED, OUT_OF_RANGE, GRAPH, VERSION = "E01", "E04", "E05", "E13"

_RANGES = {"less_than_equal", "less_than", "greater_than_equal", "greater_than", "finite_number", "ramp_span"}
_GRAPH_WORDS = re.compile(r"circle|longest chain|no stage '")
_GOT = re.compile(r"^got (?P<got>.*), (?P<allowed>(?:at most|at least|less than|more than|expected) .*)$", re.DOTALL)
_PATH = re.compile(r"^(?P<path>[\w.\[\]]+): (?P<complaint>.*)$", re.DOTALL)


def read(document: str) -> tuple[StageSpec | None, list[tuple[str, Fault]]]:
    """The spec of a text, or None and what is wrong with it, each fault with its rule's code."""
    size = len(document.encode("utf-8", errors="replace"))
    if size > MAX_FILE_BYTES:
        hint = "write fewer stages and shorter rationales"
        return None, [(MALFORMED, Fault("", f"{size} bytes", f"at most {MAX_FILE_BYTES}", "it is too large", hint))]
    try:
        spec = StageSpec.model_validate_json(document)
    except ValidationError as error:
        return None, [(_code(fault), _fault(fault)) for fault in faults(error, MODELS_BY_KEY)]
    if (key := repeated_key(document)) is not None:
        why = "the last one would count in silence"
        return None, [(MALFORMED, Fault("", f"{key!r} twice", "each key once in an object", why, "keep one of them"))]
    return spec, []


def malformed(document: str) -> Faults:
    """The text is JSON of at most 16 kB, with the fields and words of this vocabulary and no others.

    Catches: unknown keys, keys that stand twice, missing fields, invented words, texts where numbers belong, code
    instead of data.
    Example: `{"op": "holding", "a": "alphabet_soup_1"}`.
    """
    yield from (fault for code, fault in read(document)[1] if code == MALFORMED)


def out_of_range(document: str) -> Faults:
    """Every number is within its range, in its unit.

    Catches: centimetres instead of metres, heights in the world's frame, thresholds beyond physics.
    Example: `"within_m": 5`.
    """
    yield from (fault for code, fault in read(document)[1] if code == OUT_OF_RANGE)


def _code(fault: SpecFault) -> str:
    if fault.line.startswith("schema:") and fault.kind == "literal_error":
        return VERSION
    if fault.kind in _RANGES:
        return OUT_OF_RANGE
    return GRAPH if fault.kind == "stage_spec_rule" and _GRAPH_WORDS.search(fault.line) else MALFORMED


def _fault(fault: SpecFault) -> Fault:
    placed = _PATH.match(fault.line)
    path, complaint = (placed["path"], placed["complaint"]) if placed else ("", fault.line)
    bounded = _GOT.match(complaint)
    if bounded:
        got, allowed = bounded["got"], bounded["allowed"]
    else:
        got, _, allowed = complaint.partition(", ")
    return Fault(
        path, got, allowed or "what docs/vocabulary.md lists", "the file cannot be read as a spec", "correct it"
    )
