"""The certificate of one spec: its checks, its metrics with intervals, what they rest on, and a timeline to look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError

from tgrpo_envs.base_settings import Frozen
from tgrpo_envs.errors import ConfigError, StateError
from tgrpo_envs.files import write_atomically
from tgrpo_envs.reward_tools.certify import metrics
from tgrpo_envs.reward_tools.certify.checks import (
    EXPERT_CHECKS,
    MAX_COST_SHARE,
    NOT_DONE,
    PLAIN_CHECKS,
    CheckResult,
    auc_sides,
    bad_kinds,
    scores_repeat,
    stage_rates,
)
from tgrpo_envs.reward_tools.certify.evidence import Evidence, EvidenceInfo, Kind
from tgrpo_envs.reward_tools.certify.metrics import Estimate, bootstrap
from tgrpo_envs.reward_tools.certify.scoring import Judged, score_batch
from tgrpo_envs.rewards.spec import StageSpec, spec_id
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

Verdict = Literal["passed", "failed", "static-only"]


class StageBar(Frozen):
    """One stage in a timeline; `done` holds the control steps, first and last, of each stretch in which it is done."""

    id: str
    done: tuple[tuple[int, int], ...]


class Timeline(Frozen):
    """One episode as a picture: of the expert, or teleported where there is none.

    Attributes:
        kind: Whose episode it is.
        steps: Control steps.
        stages: In the spec's order.
        progress: Progress after each control step, to three digits.
    """

    kind: str
    steps: int
    stages: tuple[StageBar, ...]
    progress: tuple[float, ...]


class Certificate(Frozen):
    """What a spec showed on a task's evidence.

    Attributes:
        spec_id: Digest of the spec's meaning; a certificate says nothing about any other spec.
        producer: Who wrote the spec.
        evidence: What it was judged on: purpose and draw of the states, sizes, versions, key.
        verdict: ``passed``: no check failed; ``failed``; ``static-only``: none failed, but no expert solves at least
            half of its episodes of this task, so nothing shows that a good episode is paid.
        episodes: How many episodes there are of each kind, and of those how many reached the task's goal.
        checks: One entry per check.
        not_done: Checks of the catalogue that are not made, and why.
        metrics: By name, with 95 % bootstrap intervals over episodes.
        stage_rates: Share of the expert's successes in which each stage completes.
        timeline: One episode; None without any.
        bddl_digest: What a task file of one's own said (`Task.bddl_digest`); empty for LIBERO's tasks, and where a
            version up to 0.12.0 made it.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_: Literal["certificate/1"] = Field(default="certificate/1", alias="schema")
    spec_id: str
    suite: str
    task: str
    producer: str
    verdict: Verdict
    evidence: EvidenceInfo
    episodes: dict[Kind, tuple[int, int]]
    checks: tuple[CheckResult, ...]
    not_done: dict[str, str]
    metrics: dict[str, Estimate]
    stage_rates: dict[str, float]
    timeline: Timeline | None
    bddl_digest: str = ""

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """Checks that failed and count."""
        return tuple(check for check in self.checks if check.failed)

    def save(self, path: Path) -> None:
        """Write it as indented JSON."""
        write_atomically(path, self.model_dump_json(indent=1, by_alias=True) + "\n")

    @classmethod
    def load(cls, path: Path) -> Certificate:
        """Read what `save` wrote.

        Raises:
            StateError: The file is missing, or no certificate of this version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise StateError(f"Cannot read the certificate {path}: {error.strerror}; make it with certify.") from error
        except ValidationError as error:
            raise StateError(f"{path} is no certificate of this version; make it again with certify.") from error


def unseen_draw(spec: StageSpec, earlier: Certificate | None, asked: int | None = None) -> int:
    """The draw of states on which a spec is certified, so that nobody who wrote it has seen them.

    Whoever replaced a certified spec may have read why it failed, so the new one gets the next draw. The same spec
    keeps its draw: certified again, it shows the same numbers.

    Args:
        spec: The spec to certify.
        earlier: The certificate that the task has from before, of this spec or of the one it replaced.
        asked: A draw that the caller wants instead.

    Raises:
        ConfigError: The spec failed on its own draw: it is not tried on others until it passes.
    """
    if earlier is None:
        return asked or 0
    own = earlier.spec_id == spec_id(spec)
    if asked is not None and own and earlier.verdict == "failed" and asked != earlier.evidence.draw:
        raise ConfigError(
            f"The {earlier.producer} spec of {earlier.task} failed on draw {earlier.evidence.draw} and is not "
            f"certified on draw {asked} unchanged; repair it first, looking at --states selection."
        )
    return earlier.evidence.draw + (not own) if asked is None else asked


def make_certificate(spec: StageSpec, producer: str, evidence: Evidence, bddl_digest: str = "") -> Certificate:
    """Judge a spec.

    Args:
        spec: The spec.
        producer: Who wrote it, for the record.
        evidence: Of its task.
        bddl_digest: That of the task.

    Raises:
        SpecError: The spec does not fit the task.
    """
    judged = Judged(spec, evidence)
    has_expert = evidence.shows_success
    results = [check(judged) for check in (*PLAIN_CHECKS, scores_repeat)]
    if has_expert:
        results += [check(judged) for check in EXPERT_CHECKS]
    results.append(_cost(judged))
    results.sort(key=lambda result: result.id)
    failed = any(result.failed for result in results)
    verdict: Verdict = "failed" if failed else "passed" if has_expert else "static-only"
    return Certificate(
        spec_id=spec_id(spec),
        suite=evidence.info.suite,
        task=evidence.info.task,
        producer=producer,
        verdict=verdict,
        evidence=evidence.info,
        episodes=_episodes(evidence),
        checks=tuple(results),
        not_done=NOT_DONE,
        metrics=_metrics(judged),
        stage_rates=stage_rates(judged) if has_expert else {},
        timeline=_timeline(judged),
        bddl_digest=bddl_digest,
    )


def _episodes(evidence: Evidence) -> dict[Kind, tuple[int, int]]:
    rows = {kind: evidence.rows(kind) for kind in dict.fromkeys(evidence.kinds_N)}
    return {kind: (len(each), int(evidence.success_N[each].sum())) for kind, each in rows.items()}


def _metrics(judged: Judged) -> dict[str, Estimate]:
    evidence, score, spec = judged.evidence, judged.score, judged.spec
    solved = evidence.solved
    positives, negatives = auc_sides(judged)
    spoilt, bad = evidence.rows("dropped"), evidence.rows(*bad_kinds(evidence))
    returns_N = np.array([score.return_at(row, int(steps)) for row, steps in enumerate(evidence.steps_N)])
    success_N = evidence.success_N

    def per_episode(measure: Callable[[FloatArray], float]) -> Estimate:
        return bootstrap([[measure(score.progress_T(row)) for row in solved]])

    spread = [metrics.density(score.stage_TN[: score.steps_N[row], row], len(spec.stages)) for row in solved]
    return {
        "auc": bootstrap([positives, negatives], metrics.auc),
        "auc_dropped": bootstrap([positives, judged.best_of(spoilt[~success_N[spoilt]])], metrics.auc),
        "voc": per_episode(metrics.order_with_time),
        "mv": per_episode(metrics.backsliding),
        "dead_time": per_episode(metrics.dead_time),
        "density": bootstrap([spread]),
        "stage_order": bootstrap([judged.orders]),
        "margin": bootstrap([returns_N[success_N], returns_N[~success_N]], metrics.margin),
        "leak_idle": bootstrap([judged.best_of(evidence.rows("idle"))]),
        "leak_random": bootstrap([judged.best_of(evidence.rows("random"))]),
        "wrong_object": bootstrap([judged.best_of(evidence.rows("wrong_object"))]),
        "bad": bootstrap([judged.best_of(bad[~evidence.success_N[bad]])]),
        "wrong_target": bootstrap([judged.best_of(evidence.rows("wrong_target"))]),
    }


def _cost(judged: Judged) -> CheckResult:
    """D15: time of the stage rewards as a share of a control step; of this machine now, so it decides nothing."""
    began = time.perf_counter()
    score_batch(judged.spec, judged.evidence, judged.evidence.info.horizon, judged.profile)
    microseconds = (time.perf_counter() - began) / judged.evidence.steps_N.sum() * 1e6
    share = microseconds / judged.evidence.info.microseconds
    return CheckResult(
        id="D15",
        passed=bool(share <= MAX_COST_SHARE),
        value=float(share),
        threshold=MAX_COST_SHARE,
        n=1,
        note=f"{microseconds:.1f} of {judged.evidence.info.microseconds:.0f} microseconds of a control step",
        advisory=True,
    )


def _timeline(judged: Judged) -> Timeline | None:
    evidence, score = judged.evidence, judged.score
    teleports = evidence.rows("teleport")
    rows = evidence.solved if len(evidence.solved) else teleports[evidence.success_N[teleports]]
    if not len(rows):
        return None
    row = int(rows[0])
    done_TK = score.stages_TNK[: score.steps_N[row], row]
    bars = [
        StageBar(id=stage.id, done=_stretches(done_T))
        for stage, done_T in zip(judged.spec.stages, done_TK.T, strict=True)
    ]
    return Timeline(
        kind=evidence.kinds_N[row],
        steps=len(done_TK),
        stages=tuple(bars),
        progress=tuple(round(float(value), 3) for value in score.progress_T(row)),
    )


def _stretches(done_T: BoolArray) -> tuple[tuple[int, int], ...]:
    """First and last control step, from 1, of each run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], done_T, [False]]).astype(np.int8)))
    return tuple((int(first) + 1, int(last)) for first, last in edges.reshape(-1, 2))
