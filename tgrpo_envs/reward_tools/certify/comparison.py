"""Certificates side by side: the weakest first, and how the two producers' specs of the same tasks differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean

from tgrpo_envs.reward_tools.certify.certificate import Certificate
from tgrpo_envs.reward_tools.certify.summary import DEMANDS

MAX_WEAK = 10  # rows of the table of the weakest
WEAK_HEADINGS = ("suite", "task", "producer", "verdict", "slack", "of")
DIFFERENCE_HEADINGS = ("metric", "tasks", "llm better", "equal", "compiled better", "mean llm", "mean compiled")
MORE_IS_BETTER = {
    "auc": True,
    "auc_dropped": True,
    "voc": True,
    "mv": False,
    "dead_time": False,
    "density": True,
    "stage_order": True,
    "margin": True,
    "leak_random": False,
    "wrong_object": False,
    "wrong_target": False,
    "bad": False,
}
_VERDICTS = ("failed", "static-only", "passed")
_SAME = 1e-9


def slack(certificate: Certificate) -> tuple[float, str]:
    """How far the spec is from failing a demand, as a share of what there is, and which demand that is.

    Negative where it fails one; 1 and nothing where no demand could be asked.
    """
    found = [(1.0, "-")]
    for demand in DEMANDS:
        for check in certificate.checks:
            if check.id == demand.check and check.value is not None:
                room = 1 - check.threshold if demand.at_least else check.threshold
                over = check.value - check.threshold if demand.at_least else check.threshold - check.value
                found.append((over / room, demand.heading))
    return min(found)


def by_weakness(certificates: Sequence[Certificate]) -> list[Certificate]:
    """The same certificates: failed, then unproved, then passed ones, those nearest to failing first."""
    return sorted(certificates, key=lambda one: (_VERDICTS.index(one.verdict), slack(one)[0]))


def weak_rows(certificates: Sequence[Certificate]) -> list[tuple[str, ...]]:
    """A row for each of the weakest."""
    rows: list[tuple[str, ...]] = []
    for one in by_weakness(certificates)[:MAX_WEAK]:
        share, demand = slack(one)
        rows.append((one.suite, one.task, one.producer, one.verdict, f"{share:.2f}", demand))
    return rows


def difference_rows(certificates: Sequence[Certificate]) -> list[tuple[str, ...]]:
    """A row for each metric: in how many tasks whose spec does better, of those with both on the same states."""
    pairs = _pairs(certificates)
    rows = []
    for name, more in MORE_IS_BETTER.items():
        both = [(a.metrics[name], b.metrics[name]) for a, b in pairs if name in a.metrics and name in b.metrics]
        values = [(llm.value, compiled.value) for llm, compiled in both]
        known = [(a, b) for a, b in values if a is not None and b is not None]
        if not known:
            continue
        better = [(a - b) * (1 if more else -1) for a, b in known]
        wins, losses = sum(each > _SAME for each in better), sum(each < -_SAME for each in better)
        counts = (len(known), wins, len(known) - wins - losses, losses)
        rows.append((name, *map(str, counts), f"{fmean(a for a, _ in known):.4f}", f"{fmean(b for _, b in known):.4f}"))
    return rows


def _pairs(certificates: Sequence[Certificate]) -> list[tuple[Certificate, Certificate]]:
    ordered = sorted(certificates, key=lambda one: (one.suite, one.task, one.evidence.draw, one.producer))
    groups = groupby(ordered, key=lambda one: (one.suite, one.task, one.evidence.draw))
    found = [{one.producer: one for one in group} for _, group in groups]
    return [(group["llm"], group["compiled"]) for group in found if {"llm", "compiled"} <= group.keys()]
