"""Says why a control step paid what it paid: the stages that changed, and the sum from progress to reward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tgrpo_envs.reward_tools.explain.wording import State, atom_text, ramp_text, stage_state
from tgrpo_envs.rewards.describe import Conjuncts, maintain_sentence, title
from tgrpo_envs.rewards.trace import Trace
from tgrpo_envs.rewards.vocabulary import Condition, children

Tone = Literal["reset", "none", "gain", "loss", "success"]

SMALLEST_CHANGE = 1e-9  # of a credit; below it is floating point


@dataclass(frozen=True, slots=True)
class Cause:
    """A stage or rule that changed at a step, and what changed about it."""

    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one step paid.

    Attributes:
        headline: What was paid.
        tone: Gain, loss, success, nothing, or the reset, which is no step.
        causes: What changed.
        sums: From progress to reward, a line for each rule that took part.
    """

    headline: str
    tone: Tone
    causes: tuple[Cause, ...]
    sums: tuple[str, ...]


def explain_step(trace: Trace, m: int, goal: Conjuncts = ()) -> Explanation:
    """Why the step that led to moment m paid what it paid.

    Args:
        trace: The episode.
        m: The moment after the step, from 1; 0 is the reset.
        goal: The task's conjuncts, to name them.
    """
    if m == 0:
        return _reset(trace)
    stages = [_stage(trace, k, m, goal) for k in range(len(trace.spec.stages))]
    causes = (*(cause for cause in stages if cause is not None), *_maintain(trace, m, goal))
    success = bool(trace.goal_MC[m].all())
    reward = float(trace.reward_M[m])
    tone: Tone = "success" if success else "gain" if reward > 0 else "loss" if reward < 0 else "none"
    paid = {
        "success": f"success, paid {signed(reward)}",
        "gain": f"paid {signed(reward)}",
        "loss": f"took back {-reward:.4f}",
        "none": "paid nothing",
    }
    return Explanation(f"Step {m} {paid[tone]}", tone, causes, tuple(_sums(trace, m, success=success)))


def signed(value: float) -> str:
    """A number with its sign, a real minus, and four decimals."""
    return f"{value:+.4f}".replace("-", "−") if value else "0"


def _reset(trace: Trace) -> Explanation:
    done = [title(stage.id) for k, stage in enumerate(trace.spec.stages) if trace.verdict.done_KN[k, 0]]
    already = (Cause("Done at reset, so worth nothing", tuple(done)),) if done else ()
    return Explanation("The reset: progress is counted from here", "reset", already, ())


def _stage(trace: Trace, k: int, m: int, goal: Conjuncts) -> Cause | None:
    """What changed about stage k; None where nothing did."""
    stage, before, now = trace.spec.stages[k], trace.verdict.credit_KN[k, m - 1], trace.verdict.credit_KN[k, m]
    lines = [*_opening(trace, k, m), *_verdict(trace, k, m, goal)]
    changed = abs(now - before) > SMALLEST_CHANGE
    if not changed and not lines:
        return None
    if not changed:
        return Cause(f"{title(stage.id)}: credit stays {now:.2f}", tuple(lines))
    share = trace.share_K[k]
    worth = f"{signed(share * (now - before))} of progress" if share else "worth nothing, as it was done at reset"
    return Cause(f"{title(stage.id)}: credit {before:.2f} → {now:.2f} ({worth})", tuple(lines))


def _opening(trace: Trace, k: int, m: int) -> Iterator[str]:
    if trace.verdict.open_KN[k, m] != trace.verdict.open_KN[k, m - 1]:
        names = " and ".join(title(name) for name in trace.spec.stages[k].after)
        yield (
            f"opens, because completed: {names}"
            if trace.verdict.open_KN[k, m]
            else f"closes, because it waits for: {names}"
        )


def _verdict(trace: Trace, k: int, m: int, goal: Conjuncts) -> Iterator[str]:
    """Why the credit of stage k is what it is, if that has news."""
    stage, state, before = trace.spec.stages[k], stage_state(trace, k, m), stage_state(trace, k, m - 1)
    was_done, is_done = (one in (State.DONE, State.GOAL) for one in (before, state))
    if is_done and not was_done:
        if state is State.GOAL and not trace.verdict.completed_KN[k, m]:
            yield "counts as done, because a goal condition that it leads to holds"
        else:
            yield f"its condition holds{_held(trace, k, m)}"
            yield from _atoms(trace, stage.done, m, goal)
    elif was_done and not is_done:
        yield "its condition no longer holds, and its credit lasts only while it does"
        yield from _atoms(trace, stage.done, m, goal)
    elif not is_done and trace.verdict.open_KN[k, m]:
        yield from _counting(trace, k, m, goal)
    if state is State.BLOCKED and before is not State.BLOCKED:
        yield "its “while” fails, so the ramp pays nothing"
    if {state, before} & {State.BLOCKED} and state is not before:
        for condition in stage.while_:
            yield from _atoms(trace, condition, m, goal)
    pays = not is_done and state is State.OPEN and stage.ramp is not None
    if pays and abs(trace.verdict.credit_KN[k, m] - trace.verdict.credit_KN[k, m - 1]) > SMALLEST_CHANGE:
        yield ramp_text(trace, k, m)


def _counting(trace: Trace, k: int, m: int, goal: Conjuncts) -> Iterator[str]:
    """A `done` that is being held, or that broke before it had been held long enough."""
    stage, held, before = trace.spec.stages[k], trace.verdict.held_KN[k, m], trace.verdict.held_KN[k, m - 1]
    if 0 < held < stage.hold_steps:
        yield f"its condition holds{_held(trace, k, m)}"
    elif 0 == held < before < stage.hold_steps:
        yield f"its condition broke after {before} of {stage.hold_steps} control steps; counting starts again"
    if (held > 0) != (before > 0):
        yield from _atoms(trace, stage.done, m, goal)


def _held(trace: Trace, k: int, m: int) -> str:
    needed = trace.spec.stages[k].hold_steps
    held = min(int(trace.verdict.held_KN[k, m]), needed)
    return "" if needed == 1 else f", for {held} of {needed} control steps so far"


def _atoms(trace: Trace, condition: Condition, m: int, goal: Conjuncts) -> Iterator[str]:
    """The atoms of a condition that changed at this step; all of them where none did."""
    wanted = set(_leaves(condition))
    atoms = [atom for atom in trace.predicates if atom.predicate in wanted]
    changed = [atom for atom in atoms if atom.truth_M[m] != atom.truth_M[m - 1]]
    for atom in changed or atoms:
        yield atom_text(atom, m, goal)


def _leaves(condition: Condition) -> Iterator[Condition]:
    parts = children(condition)
    if not parts:
        yield condition
    for part in parts:
        yield from _leaves(part)


def _maintain(trace: Trace, m: int, goal: Conjuncts) -> Iterator[Cause]:
    """Rules that are broken now, or have just been repaired."""
    for rule, holds_M in zip(trace.spec.maintain, trace.verdict.seen.maintained_JN, strict=True):
        if not holds_M[m] or not holds_M[m - 1]:
            state = "is kept again" if holds_M[m] else "is broken" if not holds_M[m - 1] else "breaks"
            atoms = tuple(_atoms(trace, rule.holds, m, goal))
            yield Cause(f"A rule to maintain {state}: {maintain_sentence(rule, goal)}", atoms)


def _sums(trace: Trace, m: int, *, success: bool) -> Iterator[str]:
    """The way from the stages' credit to the reward."""
    phi, best = trace.progress_M, trace.best_M
    if phi[m] == phi[m - 1] and not trace.reward_M[m]:
        yield f"Progress φ stays {phi[m]:.4f}, so the reward is 0."
        return
    yield from _corrections(trace, m)
    yield f"Progress φ: {phi[m - 1]:.4f} → {phi[m]:.4f}."
    if best[m] > best[m - 1]:
        yield f"Best so far M: {best[m - 1]:.4f} → {best[m]:.4f}, a new high-water mark."
    elif best[m] > phi[m]:
        yield f"Best so far M stays {best[m]:.4f}; progress is {best[m] - phi[m]:.4f} below that high-water mark."
    yield _psi(trace, m)
    yield _success(trace, m) if success else _increment(trace, m)


def _corrections(trace: Trace, m: int) -> Iterator[str]:
    """What stands between the stages' credit and progress."""
    if trace.profile.mode == "goals-only":
        yield "The profile counts goal conditions alone: the stages above are watched, not paid."
        return
    gained = float(trace.share_K @ (trace.verdict.credit_KN[:, m] - trace.verdict.credit_KN[:, 0]))
    if gained < -SMALLEST_CHANGE:
        yield f"All stages together have {-gained:.4f} less than at reset, which counts as 0."
    if trace.verdict.seen.kept_N[m] < 1:
        yield f"Broken rules leave {100 * trace.verdict.seen.kept_N[m]:.0f} % of the progress."


def _psi(trace: Trace, m: int) -> str:
    profile = trace.profile
    levels = round(1 / profile.quantum)
    now, before = (round(trace.psi_M[at] * levels) for at in (m, m - 1))
    if profile.mode == "pbrs":
        what, mixed = "φ", trace.progress_M[m]
    else:
        kappa = profile.kappa
        what = f"(1 − {kappa:g}) M + {kappa:g} φ"
        mixed = trace.best_M[m] - kappa * (trace.best_M[m] - trace.progress_M[m])
    quanta = f"{mixed:.4f} = {mixed * levels:.2f} quanta of 1/{levels}"
    return f"Paid progress ψ: {what} = {quanta}, rounded down to {now}; before: {before}."


def _increment(trace: Trace, m: int) -> str:
    profile = trace.profile
    if not profile.pay:
        return "Nothing is paid before success: the reward is 0."
    levels, reward = round(1 / profile.quantum), signed(float(trace.reward_M[m]))
    now, before = (round(trace.psi_M[at] * levels) for at in (m, m - 1))
    if profile.mode == "pbrs":
        change = f"({profile.discount:g} × {now} − {before})/{levels}"
        return f"Reward: γ Φ − Φ before, where Φ = β ψ: {profile.pay:g} × {change} = {reward}."
    return f"Reward: β × change of ψ = {profile.pay:g} × ({now} − {before})/{levels} = {reward}."


def _success(trace: Trace, m: int) -> str:
    profile, reward = trace.profile, signed(float(trace.reward_M[m]))
    bonus = f" + {profile.eta:g} × (1 − {m}/{trace.horizon}) for speed" if profile.eta else ""
    if profile.mode == "pbrs":
        return f"Success: 1 − {profile.pay * trace.psi_M[m - 1]:.4f}, the potential before{bonus} = {reward}."
    paid = float(trace.reward_M[:m].sum())
    return f"Success: the reward fills the return up to 1: 1 − {paid:.4f} paid so far{bonus} = {reward}."
