"""Lint errors about the plan: every goal asked for once, every stage on the way to one, doors open when needed."""

from __future__ import annotations

from tgrpo_envs.bddl import Conjunct
from tgrpo_envs.reward_tools.lint.case import Case, Use
from tgrpo_envs.reward_tools.lint.finding import Fault, Faults
from tgrpo_envs.reward_tools.lint.roles import MIN_OPEN_FRAC, entered_part, jointed_name, moves_joint, roles
from tgrpo_envs.rewards.at_reset import holds_at_reset, is_maintained
from tgrpo_envs.rewards.entities import GRIPPER
from tgrpo_envs.rewards.predicates import (
    Actuated,
    AtOpening,
    Goal,
    Grasped,
    Lifted,
    Moved,
    Near,
    Predicate,
    Released,
    Touching,
)
from tgrpo_envs.rewards.ramps import Approach, ApproachOpening, Raise, Ramp

CONTACT = (Grasped, Touching, Lifted)


def dead_end(case: Case) -> Faults:
    """The graph has no circles, at most 12 stages, 8 deep; every stage leads to the stage of a goal.

    Catches: circles in `after`, and side branches that pay for what no goal needs.
    Example: a stage `wave` that no later stage names in its `after`.
    """
    for k, stage in enumerate(case.spec.stages):
        if not case.serves[k]:
            yield Fault(
                f"stages[{k}]",
                repr(stage.id),
                "stages that lead to a goal",
                "it pays for something that success does not need",
                "name it in the `after` of a stage on the way to a goal, or remove it",
            )


def goal_count(case: Case) -> Faults:
    """Each goal conjunct is the whole `done` of one stage, `live` beside others; if true throughout, in `maintain`.

    Catches: forgotten goals, goals paid twice, goals paid for holding from the start, goals the task does not have,
        and, of several, goals that stay paid when they have come undone: progress would be 1 without success.
    Example: `{"op": "goal", "index": 1}` in a task whose goal has one conjunct.
    """
    for use in case.uses:
        if isinstance(use.word, Goal) and use.word.index >= len(case.goal):
            allowed = f"0 to {len(case.goal) - 1}"
            yield Fault(
                f"{use.path}.index", str(use.word.index), allowed, "the goal has no such conjunct", "correct it"
            )
    for index, conjunct in enumerate(case.goal):
        words = f"goal {index} ({' '.join(conjunct)})"
        held = [j for j, rule in enumerate(case.spec.maintain) if rule.holds == Goal(op="goal", index=index)]
        rows = case.goal_stages.get(index, [])
        is_kept = is_maintained(case.problem, conjunct)
        if (len(rows), len(held)) != ((0, 1) if is_kept else (1, 0)):
            got = f"{words} as `done` of {len(rows)} stages, in `maintain` {len(held)} times"
            wanted = "in `maintain` once and no stage's `done`" if is_kept else "the whole `done` of one stage"
            yield Fault("stages" if rows or not held else "maintain", got, wanted, _why(case, conjunct), "correct it")
    for use in case.uses:
        if isinstance(use.word, Goal) and use.role == "done" and case.spec.stages[use.stage].done != use.word:
            got = f"goal {use.word.index} inside a larger `done`"
            yield Fault(use.path, got, "the goal alone", "success would not be the end of it", "split the stage")
    yield from _goals_paid_for_good(case)


def _why(case: Case, conjunct: Conjunct) -> str:
    """Why a conjunct has its place in `maintain`, or in a stage."""
    if is_maintained(case.problem, conjunct):
        return "it holds at reset"
    if holds_at_reset(case.problem, conjunct):
        return "it holds at reset, but is opened on the way and has to be shut again"
    return "success asks for it and it does not hold at reset"


def _goals_paid_for_good(case: Case) -> Faults:
    """Of several conjuncts, those whose stage stays done when they have come undone."""
    for rows in case.goal_stages.values() if len(case.goal) > 1 else ():
        for row in rows:
            if case.spec.stages[row].latch == "once":
                why = "it would stay paid after it has come undone, and progress be 1 without success"
                yield Fault(f"stages[{row}].latch", "'once'", "'live'", why, "write live")


def shut_container(case: Case) -> Faults:
    """What a goal puts into a drawer or behind a door comes after a stage that opens it, unless it starts open.

    Catches: the hidden step of `open the top drawer and put the bowl inside`, whose goal only says `in`.
    Example: a stage with goal `(in akita_black_bowl_1 wooden_cabinet_1_top_region)`, and none that opens the drawer.
    """
    for use in case.uses:
        part = entered_part(case, use)
        if part is None or use.stage < 0 or case.entities.starts_open(part):
            continue
        opens = {moves_joint(case, other, "open") for p in case.before[use.stage] for other in case.demanded(p)}
        if part not in opens:
            yield Fault(
                use.path,
                f"{part!r} shut at reset and opened by no stage before",
                f"an earlier stage with `actuated` {part!r} toward open, min_frac at least {MIN_OPEN_FRAC}",
                "nothing can be put in",
                "add the stage and name it in `after`",
            )


def shut_too_early(case: Case) -> Faults:
    """A stage that shuts a part comes after every stage that needs to get into it.

    Catches: close before put, and paying for shutting the empty drawer.
    Example: `close_drawer` without `put_in` among the stages before it.
    """
    entries = {(use.stage, part) for use in case.uses if (part := entered_part(case, use)) and use.stage >= 0}
    for k, stage in enumerate(case.spec.stages):
        shut = {moves_joint(case, use, "close") for use in case.demanded(k)}
        for entry, part in sorted(entries):
            if part in shut and entry != k and entry not in case.before[k]:
                name = case.spec.stages[entry].id
                yield Fault(
                    f"stages[{k}].after",
                    f"{list(stage.after)}, which does not wait for {name!r}",
                    f"{name!r} before it",
                    f"{part!r} would be shut before {name!r} gets into it",
                    f"add {name!r} to `after`",
                )


def wrong_direction(case: Case) -> Faults:
    """Joints go where the goal, or what has to be put inside, wants them; what is moved by hand is not let go.

    Catches: sign errors, opening what should be closed, `released` in place of `grasped`.
    Example: `{"op": "actuate", "a": "microwave_1", "toward": "open"}` on the way to `(close microwave_1)`.
    """
    for use in case.uses:
        turned = jointed_name(use.word)
        if turned is None or use.negated:
            continue
        wanted = roles(case.entities, case.conjuncts(use.stage)).joints.get(turned[0])
        if wanted is not None and turned[1] not in wanted:
            yield _wrong_way(use, turned, " or ".join(sorted(wanted)))
    for k, stage in enumerate(case.spec.stages):
        if not isinstance(stage.done, Goal):
            yield from _let_go_too_early(case, k)


def _wrong_way(use: Use, turned: tuple[str, str], wanted: str) -> Fault:
    part, toward = turned
    return Fault(
        f"{use.path}.toward", repr(toward), wanted, f"the goal wants {part!r} the other way", f"write {wanted}"
    )


def _let_go_too_early(case: Case, k: int) -> Faults:
    """Letting go is done by what nobody held, or is demanded while a stage moves the object by hand."""
    own = [use for use in case.uses if use.stage == k]
    carried = {use.names["a"] for use in own if use.role in ("ramp", "done") and _moves_by_hand(use)}
    held = {use.names["a"] for p in case.before[k] for use in case.demanded(p) if isinstance(use.word, CONTACT)}
    for use in own:
        if not _lets_go(use):
            continue
        name, got = use.names["a"], f"{use.word.op!r}{' under `not`' if use.negated else ''}"
        if use.role == "while" and name in carried:
            why = f"{name!r} does not move by itself"
            yield Fault(use.path, got, f"{name!r} in the hand", why, "demand `grasped`, or drop it")
        if use.role == "done" and name not in held:
            why = f"nothing held {name!r} before, so it holds from the start"
            yield Fault(use.path, got, "a stage before that demands contact", why, "write the opposite")


def broken_at_reset(case: Case) -> Faults:
    """What `maintain` demands is not false at reset: it costs progress from the start, until it comes true.

    Catches: a grasp, a lift or an opened drawer that is to last, as a condition of all progress.
    Example: `{"holds": {"op": "grasped", "a": "akita_black_bowl_1"}}` in `maintain`.
    """
    costly = tuple(f"maintain[{j}]." for j, rule in enumerate(case.spec.maintain) if rule.cost_frac > 0)
    for use in case.uses:
        if use.path.startswith(costly) and not use.optional and _at_reset(case, use.word) is use.negated:
            got = f"{use.word.op!r}{' under `not`' if use.negated else ''}"
            why = "it is false at reset, so all that comes before it would hardly pay"
            yield Fault(use.path, got, "what holds at reset", why, "demand it in a stage, in `done` or `while`")


def _at_reset(case: Case, word: Predicate | Ramp) -> bool | None:
    """Whether a word holds at reset, by what it means or the file says; None where neither tells."""
    if isinstance(word, Grasped | Touching | Lifted | Moved):
        return False
    if isinstance(word, Released):
        return True
    moves = {"open": "open", "on": "turnon"}  # a joint at 0 is neither
    if isinstance(word, Actuated) and word.toward in moves:
        return None if holds_at_reset(case.problem, (moves[word.toward], word.a)) else False
    return None


def _moves_by_hand(use: Use) -> bool:
    pair = isinstance(use.word, Near | Approach) and GRIPPER not in use.names.values()
    return not use.negated and (pair or isinstance(use.word, Raise | Lifted | AtOpening | ApproachOpening))


def _lets_go(use: Use) -> bool:
    word = use.word
    return not use.optional and (isinstance(word, Grasped | Touching) if use.negated else isinstance(word, Released))
