"""The stage specification of one task: its pydantic models, its rules, its file format and its identity.

A spec is data: stages on a directed acyclic graph, each with a boolean `done` condition over the words of
`vocabulary` and an optional ramp of partial credit. It says nothing about reward scale (`credit.CreditProfile`)
and nothing about success (LIBERO's own check). `docs/rewards.md` explains every field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from tgrpo_envs.errors import SpecError
from tgrpo_envs.files import write_atomically
from tgrpo_envs.rewards.predicates import Goal
from tgrpo_envs.rewards.validation_errors import explain, near_matches
from tgrpo_envs.rewards.vocabulary import CONNECTIVES, Condition, Not, RampField, children
from tgrpo_envs.rewards.words import SpecModel

MAX_FILE_BYTES = 16_384
MAX_NAME_CHARS = 200
MAX_STAGES = 12
MAX_DEPTH = 8
MAX_CONNECTIVE_DEPTH = 2

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class TaskRef(SpecModel):
    """The task a spec was written for.

    Attributes:
        suite: LIBERO suite, such as libero_object.
        name: Name of the task: the stem of its BDDL file.
    """

    suite: Identifier
    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS)


class Stage(SpecModel):
    """One step towards the goal.

    Attributes:
        id: Name, unique in the spec; it labels the stage in `info` and in reports.
        effort: Share of the progress, relative to the other stages.
        after: Stages that must have been completed before this one earns anything.
        while_: What must hold for the ramp to pay.
        ramp: Partial credit before `done`; none by default.
        done: When the stage is complete.
        hold_steps: Control steps (20 Hz) in a row that `done` must hold before it counts.
        latch: "once" keeps the credit for good, "live" only while `done` holds.
        rationale: One line for human readers; no part of the spec's identity.
    """

    id: Identifier
    effort: int = Field(ge=1, le=5)
    after: tuple[Identifier, ...] = Field(default=(), max_length=MAX_STAGES)
    while_: tuple[Condition, ...] = Field(default=(), alias="while", max_length=8)
    ramp: RampField | None = None
    done: Condition
    hold_steps: int = Field(default=1, ge=1, le=20)
    latch: Literal["once", "live"] = "once"
    rationale: str = Field(default="", max_length=160)


class Maintain(SpecModel):
    """A condition whose violation costs the share `cost_frac` of all progress for as long as it lasts.

    Attributes:
        holds: The condition.
        cost_frac: Share of all progress that is lost while it does not hold.
    """

    holds: Condition
    cost_frac: float = Field(default=0.5, ge=0.0, le=1.0)


class StageSpec(SpecModel):
    """A whole reward specification; see the module's docstring.

    Attributes:
        schema_: Version of the vocabulary.
        task: The task it was written for.
        stages: The steps; their graph is at most 8 deep.
        maintain: What must not be broken on the way.
    """

    schema_: Literal["stage-spec/1"] = Field(alias="schema")
    task: TaskRef
    stages: tuple[Stage, ...] = Field(min_length=1, max_length=MAX_STAGES)
    maintain: tuple[Maintain, ...] = Field(default=(), max_length=8)

    @model_validator(mode="after")
    def _is_consistent(self) -> StageSpec:
        _check_names(self)
        _check_graph(self)
        for path, condition in conditions(self):
            depth = _connective_depth(condition)
            if depth > MAX_CONNECTIVE_DEPTH:
                raise _rule(f"{path}: nests {depth} connectives, at most {MAX_CONNECTIVE_DEPTH}")
        return self


MODELS_BY_KEY: dict[str, type[SpecModel]] = {"": StageSpec, "task": TaskRef, "stages": Stage, "maintain": Maintain}
"""Models by the first key of a path in the file; "" is the document itself."""


def conditions(spec: StageSpec) -> Iterator[tuple[str, Condition]]:
    """Every top-level condition of a spec with its path in the file: `done`, `while` and `maintain`."""
    for k, stage in enumerate(spec.stages):
        yield f"stages[{k}].done", stage.done
        for i, condition in enumerate(stage.while_):
            yield f"stages[{k}].while[{i}]", condition
    for j, maintain in enumerate(spec.maintain):
        yield f"maintain[{j}].holds", maintain.holds


def predecessors(spec: StageSpec) -> tuple[tuple[int, ...], ...]:
    """Rows of the stages named in each stage's `after`."""
    row = {stage.id: k for k, stage in enumerate(spec.stages)}
    return tuple(tuple(row[name] for name in stage.after) for stage in spec.stages)


def topological_order(spec: StageSpec) -> tuple[int, ...]:
    """Stage rows with every stage behind its predecessors."""
    return tuple(TopologicalSorter(dict(enumerate(predecessors(spec)))).static_order())


def longest_chain(before: Mapping[str, Iterable[str]]) -> int:
    """How many stages stand in a row at most.

    Args:
        before: The names in each stage's `after`.

    Raises:
        CycleError: They run in a circle.
    """
    depth: dict[str, int] = {}
    for name in TopologicalSorter(before).static_order():
        depth[name] = 1 + max((depth[other] for other in before[name]), default=0)
    return max(depth.values(), default=0)


def goal_indices(condition: Condition) -> frozenset[int]:
    """Goal conjuncts that a condition asks for; those under a `not` are not asked for."""
    if isinstance(condition, Goal):
        return frozenset({condition.index})
    if isinstance(condition, Not):
        return frozenset()
    return frozenset[int]().union(*(goal_indices(child) for child in children(condition)))


def parse_spec(text: str, source: str = "the text") -> StageSpec:
    """Read a spec from JSON.

    Args:
        text: The JSON document.
        source: Where it came from, for the message.

    Raises:
        SpecError: The text is not JSON, or breaks a rule; each fault is named with its path inside the document.
    """
    try:
        spec = StageSpec.model_validate_json(text)
    except ValidationError as error:
        raise SpecError(explain(error, source, MODELS_BY_KEY)) from error
    if (key := repeated_key(text)) is not None:
        raise SpecError(f"{source} is not a valid stage spec: {key!r} stands twice in one object; keep one of them.")
    return spec


def repeated_key(text: str) -> str | None:
    """A key that stands twice in one object of a JSON text: parsers take the last in silence, a reader sees both."""
    repeated: list[str] = []

    def once(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        repeated.extend(name for name in names if names.count(name) > 1)

    json.loads(text, object_pairs_hook=once)
    return next(iter(repeated), None)


def load_spec(path: str | Path) -> StageSpec:
    """Read a spec file.

    Raises:
        SpecError: The file is missing, too large, not UTF-8 text, or not a valid spec.
    """
    return parse_spec(read_spec_text(Path(path)), source=str(path))


def read_spec_text(path: Path) -> str:
    """The text of a spec file, of which no more is read than a spec may have.

    Raises:
        SpecError: The file is missing, too large, or not UTF-8 text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SpecError(f"Cannot read the stage spec {path}: {error.strerror}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise SpecError(f"The stage spec {path} has more than {MAX_FILE_BYTES} bytes; give the spec alone.")
    try:
        return data.decode("utf-8-sig")  # some editors put a mark before the text
    except UnicodeDecodeError as error:
        raise SpecError(f"The stage spec {path} is not UTF-8 text (byte {error.start}).") from error


def save_spec(spec: StageSpec, path: str | Path) -> None:
    """Write a spec as JSON, fields at their defaults left out; `load_spec` reads an equal spec back.

    It is indented, or on one line where that would be more than a spec file may have.

    Raises:
        SpecError: On one line it is too much as well; nothing was written.
        OutputError: The file cannot be written.
    """
    document = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text = json.dumps(document, indent=2) + "\n"
    if len(text) > MAX_FILE_BYTES:  # it is ASCII
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n"
    if (size := len(text.encode())) > MAX_FILE_BYTES:
        raise SpecError(
            f"The stage spec for {path} has {size} bytes, at most {MAX_FILE_BYTES}; leave out conditions or rationales."
        )
    write_atomically(Path(path), text)


def canonical_json(spec: StageSpec) -> str:
    """The spec's meaning as one line: sorted keys, every default written out, rationales left out."""
    document = spec.model_dump(mode="json", by_alias=True, exclude={"stages": {"__all__": {"rationale"}}})
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def spec_id(spec: StageSpec) -> str:
    """SHA-256 of `canonical_json`, in hexadecimal: equal for specs that pay the same for the same reasons."""
    return hashlib.sha256(canonical_json(spec).encode("ascii")).hexdigest()


def _rule(message: str) -> PydanticCustomError:
    return PydanticCustomError("stage_spec_rule", "{message}", {"message": message})


def _check_names(spec: StageSpec) -> None:
    ids = [stage.id for stage in spec.stages]
    for k, stage in enumerate(spec.stages):
        if stage.id in ids[:k]:
            raise _rule(f"stages[{k}].id: {stage.id!r} is already the id of stages[{ids.index(stage.id)}]")
        for i, name in enumerate(stage.after):
            if name not in ids:
                raise _rule(f"stages[{k}].after[{i}]: no stage {name!r}, {near_matches(name, ids)}")


def _check_graph(spec: StageSpec) -> None:
    try:
        depth = longest_chain({stage.id: stage.after for stage in spec.stages})
    except CycleError as error:
        loop = " -> ".join(error.args[1])
        raise _rule(f"stages: `after` runs in a circle ({loop}); a stage cannot precede itself") from None
    if depth > MAX_DEPTH:
        raise _rule(f"stages: the longest chain has {depth} stages, at most {MAX_DEPTH}")


def _connective_depth(condition: Condition) -> int:
    own = int(isinstance(condition, tuple(CONNECTIVES.values())))
    return own + max((_connective_depth(child) for child in children(condition)), default=0)
