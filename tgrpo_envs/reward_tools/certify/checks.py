"""The dynamic checks D01 to D16: what a spec must show on the evidence before anyone trains on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tgrpo_envs.base_settings import Frozen
from tgrpo_envs.errors import SpecError, UnknownNameError
from tgrpo_envs.reward_tools.certify import metrics
from tgrpo_envs.reward_tools.certify.evidence import BAD_POLICIES, BadPolicy, Evidence
from tgrpo_envs.reward_tools.certify.scoring import ARRIVING, NEVER, Judged, score_batch, stages_done_at_start
from tgrpo_envs.rewards.rescore import rescore
from tgrpo_envs.rewards.spec import StageSpec
from tgrpo_envs.sim.snapshot import FloatArray

MAX_IDLE = 0.01
MAX_RANDOM = 0.15
MIN_EPISODES_SHARE, MIN_STAGE_RATE = 0.95, 0.90
MIN_VOC, MAX_MV, MAX_PLATEAU = 0.8, 0.05, 0.40
MIN_RAMP_GAIN = 0.1
MIN_CUT_PAIRS = 0.8  # one pair of six may be off: an expert that grips again loses ground for real
MIN_PAIRS = 0.95
MIN_AUC = 0.95
MAX_WRONG = 0.5
MAX_BAD = 1.0
MIN_BAR = 1e-6  # where an honest near-miss earns nothing, whatever a bad policy earns is too much
MAX_COST_SHARE = 0.02
CUTS = (0.25, 0.50, 0.75, 0.90)  # shares of a demonstration at which it is cut
NOISE_SIGMAS = 3.0
PUSHING = ("shove", "rub", "drag", "fling")  # bring an object to its target, as a task may ask for
HOLDING = ("drag", "fling")  # bad policies that hold the object, so that a lift is no near-miss for them

NOT_DONE = {
    "D13": "no search for states that earn progress without success: it needs an optimiser's budget per spec",
    "D14": "LIBERO's box under a turned container is a property of the task, not of a spec: see docs/rewards.md",
}


class CheckResult(Frozen):
    """One check.

    Attributes:
        id: As in docs/rewards.md.
        passed: Whether it passed; None where there was no evidence for it.
        value: The number that was compared.
        threshold: What it was compared with.
        n: Episodes, states or pairs it rests on.
        note: What the number is, and what failed.
        advisory: Shown, but no part of the verdict.
    """

    id: str
    passed: bool | None
    value: float | None
    threshold: float
    n: int
    note: str
    advisory: bool = False

    @property
    def failed(self) -> bool:
        """Whether it speaks against the spec."""
        return self.passed is False and not self.advisory


Check = Callable[[Judged], CheckResult]


def starts_with_nothing_done(judged: Judged) -> CheckResult:
    """D01: in no settled initial state is a stage done already, and all ramps are finite."""
    done_KS, finite = stages_done_at_start(judged.spec, judged.evidence)
    value = float(done_KS.any(axis=0).mean())
    early = [stage.id for stage, done_S in zip(judged.spec.stages, done_KS, strict=True) if done_S.any()]
    note = "share of initial states with a stage done at reset" + (f": {', '.join(early)}" if early else "")
    return _result("D01", value, 0.0, done_KS.shape[1], note if finite else f"{note}; a ramp is not finite", finite)


def idle_earns_nothing(judged: Judged) -> CheckResult:
    """D02: doing nothing makes no progress."""
    rows = judged.evidence.rows("idle")
    return _result("D02", _mean(judged.best_of(rows), np.max), MAX_IDLE, len(rows), "largest M of idle episodes")


def chance_earns_little(judged: Judged) -> CheckResult:
    """D03: random actions make little progress, and do not complete the last stages without success."""
    rows = judged.evidence.rows("random")
    inner = {p for p, _ in judged.edges}
    sinks = [k for k in range(len(judged.spec.stages)) if k not in inner]
    failed = rows[~judged.evidence.success_N[rows]]
    reached = int(judged.score.stages_TNK[:, failed][:, :, sinks].all(axis=2).any(axis=0).sum())
    note = f"mean M of random episodes; {reached} completed the last stages without success"
    return _result("D03", _mean(judged.best_of(rows)), MAX_RANDOM, len(rows), note, reached == 0)


def expert_fires_every_stage_in_order(judged: Judged) -> CheckResult:
    """D04: the expert completes every stage without the goal's help, in an order that the stage graph allows."""
    whole = [
        order == 1.0 and all(when < NEVER for when in firing.completed_K)
        for order, firing in zip(judged.orders, judged.firings, strict=True)
    ]
    weak = [f"{name} {rate:.0%}" for name, rate in stage_rates(judged).items() if rate < MIN_STAGE_RATE]
    disordered = sum(order < 1.0 for order in judged.orders)
    note = f"share of expert episodes with all stages in order; {disordered} out of order"
    note += f"; rarely completed: {', '.join(weak)}" if weak else ""
    value = float(np.mean(whole)) if whole else None
    return _result("D04", value, MIN_EPISODES_SHARE, len(whole), note, not weak, at_least=True)


def progress_follows_time(judged: Judged) -> CheckResult:
    """D05-voc: in expert episodes later means more progress."""
    values = [metrics.order_with_time(phi_T) for phi_T in _expert_progress(judged)]
    return _result("D05-voc", _mean(values), MIN_VOC, len(values), "mean rank correlation with time", at_least=True)


def progress_rarely_falls(judged: Judged) -> CheckResult:
    """D05-mv: in expert episodes progress hardly ever falls."""
    values = [metrics.backsliding(phi_T) for phi_T in _expert_progress(judged)]
    note = "mean share of progress's way that goes down"
    # Advisory: a `live` grasp loses its credit when an object is let go over its target, a step before success.
    return _result("D05-mv", _mean(values), MAX_MV, len(values), note).model_copy(update={"advisory": True})


def progress_never_stalls(judged: Judged) -> CheckResult:
    """D05-plateau: in expert episodes progress stands still for no long stretch."""
    values = [metrics.longest_plateau(phi_T) for phi_T in _expert_progress(judged)]
    note = "mean longest standstill, share of the episode"
    return _result("D05-plateau", _mean(values), MAX_PLATEAU, len(values), note)


def ramps_rise(judged: Judged) -> CheckResult:
    """D05-ramp: while it is a stage's turn, its ramp rises and is allowed to pay."""
    gains_EK = np.array([firing.ramp_gain_K for firing in judged.firings]).reshape(-1, len(judged.spec.stages))
    judgeable_K = ~np.isnan(gains_EK).all(axis=0)
    means = {
        stage.id: float(np.nanmean(gains_EK[:, k])) for k, stage in enumerate(judged.spec.stages) if judgeable_K[k]
    }
    flat = [f"{name} {gain:.2f}" for name, gain in means.items() if gain < MIN_RAMP_GAIN]
    note = "least mean gain of a ramp during its stage" + (f": {', '.join(flat)}" if flat else "")
    return _result("D05-ramp", min(means.values(), default=None), MIN_RAMP_GAIN, len(gains_EK), note, at_least=True)


def complete_exactly_at_success(judged: Judged) -> CheckResult:
    """D06: progress is 1 at success and at no other moment."""
    evidence, score = judged.evidence, judged.score
    steps_N = score.steps_N
    live_TN = np.arange(len(score.progress_TN))[:, None] < steps_N
    full_TN = live_TN & (score.progress_TN == 1.0)
    success_TN = live_TN & evidence.goal_MNC[1 : len(live_TN) + 1].all(axis=2)
    wrong = int((full_TN != success_TN).sum())
    note = "moments at which progress is 1 without success, or success without 1"
    return _result("D06", float(wrong), 0.0, int(live_TN.sum()), note)


def cut_demonstrations_rank(judged: Judged) -> CheckResult:
    """D07-cut: demonstrations cut at 25, 50, 75 and 90 % return more the later they are cut."""
    score = judged.score
    values = [
        metrics.pairs_in_order([score.return_at(row, round(cut * (score.steps_N[row] - 1))) for cut in CUTS])
        for row in judged.evidence.solved
    ]
    note = "pairs of cuts in order, equal returns count half"
    return _result("D07-cut", _mean(values), MIN_CUT_PAIRS, len(values), note, at_least=True)


def reversed_demonstrations_lose(judged: Judged) -> CheckResult:
    """D07-reversed: a demonstration played backwards never returns more than forwards, before success."""
    forward, back = judged.score, judged.backwards
    wins = [
        back.return_at(n, int(back.steps_N[n])) <= forward.return_at(row, int(forward.steps_N[row]) - 1)
        for n, row in enumerate(judged.evidence.solved)
    ]
    note = "share of demonstrations that return at least as much forwards"
    return _result("D07-reversed", _mean(wins), MIN_PAIRS, len(wins), note, at_least=True)


def successes_stand_out(judged: Judged) -> CheckResult:
    """D08: before it succeeds a success has made more progress than a failure ends with."""
    positives, negatives = auc_sides(judged)
    both = len(positives) and len(negatives)
    value = metrics.auc(positives, negatives) if both else None
    return _result("D08", value, MIN_AUC, len(positives) + len(negatives), "AUC of M before success", at_least=True)


def other_goals_earn_less(judged: Judged) -> CheckResult:
    """D09: an expert that pursues another goal earns little: under half, and less than for the task."""
    evidence = judged.evidence
    other, target = (judged.best_of(evidence.rows(kind)) for kind in ("wrong_object", "wrong_target"))
    own = judged.best_before_success()
    if not len(own) or not (len(other) or len(target)):
        return _result("D09", None, MAX_WRONG, 0, "mean M of episodes with another goal")
    less = max(_mean(other) or 0.0, _mean(target) or 0.0) < own.mean()
    note = f"mean M with another object; task's own {own.mean():.2f}, own object to another target {_shown(target)}"
    return _result("D09", _mean(other) or 0.0, MAX_WRONG, len(other) + len(target), note, bool(less))


def bad_kinds(evidence: Evidence) -> tuple[BadPolicy, ...]:
    """The policies that are bad in this task: where it asks for a push, to push is honest."""
    is_push = "push" in evidence.info.task.split("_")
    return tuple(kind for kind in BAD_POLICIES if not (is_push and kind in PUSHING))


def bad_policies_earn_less(judged: Judged) -> CheckResult:
    """D16: pressing, shoving, rubbing, hovering, dragging or flinging earns less than an honest near-miss."""
    evidence, shares, shown, count = judged.evidence, {}, [], 0
    for kind in bad_kinds(evidence):
        rows = evidence.rows(kind)
        # Who shuts a drawer by a shove has done that part.
        goals = [evidence.episode(row)[1] for row in rows.tolist()]
        failed = [not (goal_MC & ~goal_MC[0]).any() for goal_MC in goals]
        earned = judged.best_of(rows[failed])
        if len(earned):
            bar = (judged.best_at(ARRIVING) if kind in HOLDING else judged.best_at_lift()).mean()
            shares[kind], count = earned.max() / max(bar, MIN_BAR), count + len(earned)
            shown.append(f"{kind} {earned.max():.2f} of {bar:.2f}")
    note = f"largest M of a bad policy as a share of an honest near-miss: {', '.join(shown) or 'all got there'}"
    return _result("D16", _mean(list(shares.values()), np.max), MAX_BAD, count, note)


def scores_repeat(judged: Judged) -> CheckResult:
    """D10: scored again, and alone in place of side by side, an episode gets the same reward to the last bit."""
    evidence, score = judged.evidence, judged.score
    again = score_batch(judged.spec, evidence, evidence.info.horizon, judged.profile)
    wrong = int((again.rewards_TN != score.rewards_TN).sum())
    rows = [int(rows[0]) for rows in (evidence.solved, evidence.rows("random"), evidence.rows("teleport")) if len(rows)]
    for row in rows:
        snapshots, goal_MC = evidence.episode(row)
        alone = rescore(judged.spec, evidence.layout, snapshots, goal_MC, horizon=evidence.info.horizon)
        wrong += int((alone.rewards_T != score.rewards_TN[: score.steps_N[row], row]).sum())
    return _result("D10", float(wrong), 0.0, len(rows), "control steps that differ")


def noise_is_below_the_quantum(judged: Judged) -> CheckResult:
    """D11: what progress jitters while nothing happens stays below what is paid."""
    rows = judged.evidence.rows("idle")
    spread = [float(np.std(judged.score.progress_T(row))) for row in rows]
    note = f"{NOISE_SIGMAS:g} standard deviations of progress while idle, against the quantum"
    return _result(
        "D11", _mean([NOISE_SIGMAS * one for one in spread], np.max), judged.profile.quantum, len(rows), note
    )


def reached_goals_pay(judged: Judged) -> CheckResult:
    """D12: where the goal's conjuncts are made true by writing the state, each raises progress and all make it 1."""
    evidence, score = judged.evidence, judged.score
    rows = evidence.rows("teleport")
    rows = rows[evidence.success_N[rows]]
    paid = []
    for row in rows:
        goal_MC = evidence.episode(int(row))[1]
        new_T = np.diff(goal_MC.sum(axis=1)) > 0
        rise_T = np.diff(score.progress_T(row), prepend=0.0) > 0.0
        paid.append(bool(rise_T[new_T].all()) and score.progress_T(row)[-1] == 1.0)
    note = "share of teleported episodes in which each conjunct that comes true is paid" + (
        "" if len(rows) else ": none"
    )
    return _result("D12", _mean(paid), 1.0, len(rows), note, at_least=True)


EXPERT_CHECKS: tuple[Check, ...] = (
    expert_fires_every_stage_in_order,
    progress_follows_time,
    progress_rarely_falls,
    progress_never_stalls,
    ramps_rise,
    cut_demonstrations_rank,
    reversed_demonstrations_lose,
    successes_stand_out,
    other_goals_earn_less,
    bad_policies_earn_less,
)
PLAIN_CHECKS: tuple[Check, ...] = (
    starts_with_nothing_done,
    idle_earns_nothing,
    chance_earns_little,
    complete_exactly_at_success,
    noise_is_below_the_quantum,
    reached_goals_pay,
)


def chosen_checks(evidence: Evidence) -> tuple[Check, ...]:
    """The checks that the evidence allows, without repetition and cost: those that see an expert first."""
    return (*EXPERT_CHECKS, *PLAIN_CHECKS) if evidence.shows_success else PLAIN_CHECKS


def failed_checks(spec: StageSpec, evidence: Evidence) -> tuple[CheckResult, ...]:
    """All that speaks against a spec, for who is to repair it or to choose among several.

    Raises:
        UnknownNameError: The spec names an entity that the scene lacks.
        SpecError: The spec does not fit the scene or the goal.
    """
    judged = Judged(spec, evidence)
    results = [check(judged) for check in chosen_checks(evidence)]
    return tuple(result for result in results if result.failed)


def quick_check(spec: StageSpec, evidence: Evidence) -> bool:
    """Whether a spec would pass, without intervals, repetition and cost: for thousands of mutants.

    A spec that does not fit the scene does not pass.
    """
    judged = Judged(spec, evidence)
    try:
        return not any(check(judged).failed for check in chosen_checks(evidence))
    except (SpecError, UnknownNameError):
        return False


def stage_rates(judged: Judged) -> dict[str, float]:
    """R_k: share of the expert's successes in which each stage completes."""
    count = max(len(judged.firings), 1)
    return {
        stage.id: sum(firing.completed_K[k] < NEVER for firing in judged.firings) / count
        for k, stage in enumerate(judged.spec.stages)
    }


def auc_sides(judged: Judged) -> tuple[FloatArray, FloatArray]:
    """M of the successes before they succeed, and of the failures: spoilt, random, idle and with another object."""
    evidence = judged.evidence
    rows = evidence.rows("expert", "dropped", "random", "idle", "wrong_object")
    success_N = evidence.success_N[rows]
    return judged.best_of(rows[success_N]), judged.best_of(rows[~success_N])


def _result(
    check: str,
    value: float | None,
    threshold: float,
    n: int,
    note: str,
    also: bool = True,  # noqa: FBT001, FBT002 - a second condition, computed where it is passed
    *,
    at_least: bool = False,
) -> CheckResult:
    if value is None:
        return CheckResult(id=check, passed=None, value=None, threshold=threshold, n=n, note=f"{note}; no evidence")
    within = value >= threshold if at_least else value <= threshold
    return CheckResult(id=check, passed=within and also, value=value, threshold=threshold, n=n, note=note)


def _mean(values: Sequence[float] | FloatArray, combine: Callable[[FloatArray], float] = np.mean) -> float | None:
    """Mean, or another combination; None of nothing."""
    return float(combine(np.asarray(values, dtype=float))) if len(values) else None


def _shown(values: FloatArray) -> str:
    return f"{values.mean():.2f}" if len(values) else "none"


def _expert_progress(judged: Judged) -> list[FloatArray]:
    return [judged.score.progress_T(row) for row in judged.evidence.solved]
