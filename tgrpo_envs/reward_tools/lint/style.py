"""Lint warnings: specs that work but pay unevenly, flicker, forget, or say something else than they do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tgrpo_envs.reward_tools.lint.case import Case, Use
from tgrpo_envs.reward_tools.lint.entities import place_of
from tgrpo_envs.reward_tools.lint.finding import Fault, Faults
from tgrpo_envs.reward_tools.lint.roles import roles
from tgrpo_envs.rewards.entities import GRIPPER
from tgrpo_envs.rewards.predicates import Above, Actuated, AtOpening, Grasped, Lifted, Near, RestingOn, Touching
from tgrpo_envs.rewards.words import SpecModel

MAX_EFFORT_SHARE = 0.5
FEW_STAGES, MAX_EFFORT_SHARE_OF_FEW = 3, 0.65  # reach 1, touch 1, move 3 is fair
MIN_HOLD_STEPS = 2
MIN_STAGES = 2
STAGES_PER_GOAL, SPARE_STAGES = 4, 4  # at most 8 stages for one goal, 12 for two
MAX_LENGTH_RATIO = 3
CONTACT = (Touching, Grasped, RestingOn)
TRANSIENT = (Touching, Lifted)  # true on the way, false once the object has been put down

_FILLERS = frozenset(
    ["a", "akita", "and", "in", "it", "of", "on", "pick", "place", "put", "the", "to", "up", "with", "inside"]
)
UNITS = (1, 100, 1000)  # metres, centimetres or per cent, millimetres
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")
_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")


def lopsided_effort(case: Case) -> Faults:
    """No stage has more than half of the effort of those that lead to the same goal (of up to 3 stages: 65 %).

    Catches: one stage that drowns the others.
    Example: efforts 1, 1, 1, 5.
    """
    for k, stage in enumerate(case.spec.stages):
        peers = [other.effort for row, other in enumerate(case.spec.stages) if case.serves[row] & case.serves[k]]
        most = MAX_EFFORT_SHARE_OF_FEW if len(peers) <= FEW_STAGES else MAX_EFFORT_SHARE
        if stage.effort > most * sum(peers) and len(peers) > 1:
            got, allowed = f"{stage.effort} of {sum(peers)}", f"at most {most:.0%}"
            yield Fault(f"stages[{k}].effort", got, allowed, "the other stages hardly count", "even them out")


def grasp_or_push(case: Case) -> Faults:
    """What is put somewhere is grasped first; what the instruction pushes is not.

    Catches: shaping that a shove satisfies, and a push that waits for a grasp.
    Example: a pick-and-place spec without any `grasped`.
    """
    grasped = {use.word.a for use in case.uses if isinstance(use.word, Grasped) and use.role == "done"}
    for moved, target in filter(None, map(place_of, case.goal)):
        if is_push(case) and moved in grasped:
            yield Fault("stages", f"a grasp of {moved!r}", "no grasp", "it is to be pushed", "use `touching`")
        if not is_push(case) and moved not in grasped:
            got = f"no stage that grasps {moved!r}"
            why = f"it is put onto or into {target!r} by hand"
            yield Fault("stages", got, "a stage whose `done` has `grasped`", why, "add one before it is carried")


def is_push(case: Case) -> bool:
    """The instruction asks for a push: its object is not meant to be grasped."""
    return "push" in case.task.instruction.split()


def flickering_contact(case: Case) -> Faults:
    """A `done` that hangs on a contact holds for at least 2 control steps.

    Catches: contacts that flicker for one step and count as done.
    Example: `"done": {"op": "grasped", ...}` with `hold_steps` 1.
    """
    for k, stage in enumerate(case.spec.stages):
        contact = [use for use in case.demanded(k) if isinstance(use.word, CONTACT)]
        if contact and stage.hold_steps < MIN_HOLD_STEPS:
            allowed = f"{MIN_HOLD_STEPS} or more"
            why = f"`{contact[0].word.op}` flickers"
            yield Fault(f"stages[{k}].hold_steps", str(stage.hold_steps), allowed, why, "write 3, which is 0.15 s")


def wrong_latch(case: Case) -> Faults:
    """`live` on what has to stay true (grasp, carry), `once` on what passes by (reach, lift).

    Catches: credit for a grasp that was lost, and credit that vanishes as the object is put down.
    Example: `grasp` with `"latch": "once"`.
    """
    for k, stage in enumerate(case.spec.stages):
        should_stay = [_should_stay(case, k, use) for use in case.demanded(k)]
        passes_by = [_passes_by(use) for use in case.uses if use.stage == k and use.role == "done" and not use.negated]
        if stage.latch == "once" and any(should_stay):
            why = "it would stay paid after it has come undone"
            yield Fault(f"stages[{k}].latch", "'once'", "'live'", why, "write live")
        if stage.latch == "live" and passes_by and all(passes_by):
            why = "its credit would vanish as the task goes on"
            yield Fault(f"stages[{k}].latch", "'live'", "'once'", why, "write once")


def _should_stay(case: Case, stage: int, use: Use) -> bool:
    word = use.word
    if isinstance(word, Near):
        return GRIPPER not in use.names.values() and bool(set(use.names.values()) & roles_here(case, stage))
    if isinstance(word, Actuated) and word.toward == "open":
        return any(stage in case.before[k] for k in range(len(case.before)))
    return isinstance(word, Grasped | Above | AtOpening | RestingOn)


def roles_here(case: Case, stage: int) -> frozenset[str]:
    """Objects that the goals of a stage move."""
    return roles(case.entities, case.conjuncts(stage)).moved


def _passes_by(use: Use) -> bool:
    return isinstance(use.word, TRANSIENT) or (isinstance(use.word, Near) and GRIPPER in use.names.values())


def unrelated_entity(case: Case) -> Faults:
    """Every entity is the goal's, or belongs to it: carriers, handles, what it stood on, doors in the way.

    Catches: stages about things the task is not about.
    Example: `{"op": "upright", "a": "wine_bottle_1"}` in a task about the bowl.
    """
    whole = roles(case.entities, case.goal)
    related = whole.named | whole.starts | {GRIPPER}
    for use in case.uses:
        for field, name in use.names.items():
            if name in case.entities.kinds and name not in related:
                allowed = ", ".join(sorted(related))
                yield Fault(f"{use.path}.{field}", repr(name), allowed, "the goal is not about it", "leave it out")


def conflicting_text(case: Case) -> Faults:
    """The instruction (the file's name) and the file's own sentence say the same; only reported, it costs nothing.

    Catches: of 29 files that differ, the 8 whose content words do; a few contradict the goal.
    Example: `... on the back black bowl` against `... on the black bowl at the front`.
    """
    instruction, language = _content(case.task.instruction), _content(case.problem.language)
    if instruction != language:
        got = f"{' '.join(sorted(instruction - language)) or 'nothing'} there"
        got += f", {' '.join(sorted(language - instruction)) or 'nothing'} in the file"
        yield Fault("task", got, "the same words", "the two sentences differ", "trust the goal's predicates")


def _content(sentence: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"[a-z]+", sentence.lower())} - _FILLERS


def stage_count(case: Case) -> Faults:
    """At least 2 stages, at most 4 and 4 more per goal conjunct.

    Catches: rewards as coarse as success, and plans in crumbs.
    Example: 10 stages for one object.
    """
    most, got = SPARE_STAGES + STAGES_PER_GOAL * len(case.goal), len(case.spec.stages)
    if not MIN_STAGES <= got <= most:
        why = "too coarse to rank failures" if got < MIN_STAGES else "too fine to be told apart"
        yield Fault("stages", f"{got} stages", f"{MIN_STAGES} to {most}", why, "split or join stages")


def uneven_branches(case: Case) -> Faults:
    """Goals of one sort have chains of like length.

    Catches: one can with five stages beside another with one.
    Example: `(in alphabet_soup_1 ...)` after five stages, `(in tomato_sauce_1 ...)` after none.
    """
    lengths: dict[tuple[str, str], dict[int, int]] = {}
    for index, conjunct in enumerate(case.goal):
        for row in case.goal_stages.get(index, []):
            alone = [p for p in case.before[row] if index in case.serves[p]]
            lengths.setdefault((conjunct[0], case.entities.category(conjunct[-1])), {})[row] = 1 + len(alone)
    for rows in lengths.values():
        longest, shortest = max(rows.values()), min(rows.values())
        if longest > MAX_LENGTH_RATIO * shortest:
            row = min(rows, key=lambda r: rows[r])
            got = f"{shortest} stages beside {longest}"
            why = "goals of one sort are paid differently"
            yield Fault(
                f"stages[{row}]", got, f"a ratio of at most {MAX_LENGTH_RATIO}", why, "give both the same stages"
            )


def boasting_rationale(case: Case) -> Faults:
    """A rationale names no number and no entity that its stage does not have.

    Catches: explanations of another stage, or of none.
    Example: `lift it by 10 cm` where `by_m` is 0.05.
    """
    for k, stage in enumerate(case.spec.stages):
        numbers = {f"{value * unit:g}" for value in _numbers(stage) for unit in UNITS}
        names = {name for use in case.uses if use.stage == k for name in use.names.values()} | {stage.id}
        told = [n for n in _NUMBER.findall(stage.rationale) if f"{float(n):g}" not in numbers]
        told += [n for n in _NAME.findall(stage.rationale) if n in case.entities.kinds and n not in names]
        if told:
            got = f"{', '.join(map(repr, told))} in the text"
            yield Fault(f"stages[{k}].rationale", got, "what the stage has", "it explains another stage", "correct it")


def _numbers(model: object) -> Iterator[float]:
    if isinstance(model, SpecModel):
        for value in vars(model).values():
            yield from _numbers(value)
    elif isinstance(model, tuple):
        for value in model:
            yield from _numbers(value)
    elif isinstance(model, int | float) and not isinstance(model, bool):
        yield float(model)
