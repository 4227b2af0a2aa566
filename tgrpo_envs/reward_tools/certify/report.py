"""Certificates as a report: tables of the suites in text, and one page with numbers and a timeline for each spec."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

import numpy as np

from tgrpo_envs.html import render
from tgrpo_envs.html.timeline import BLUE, EMPTY, GREEN, Row, band, drawing, line, rule, ticks
from tgrpo_envs.reward_tools.certify.certificate import Certificate, Timeline
from tgrpo_envs.reward_tools.certify.comparison import DIFFERENCE_HEADINGS, WEAK_HEADINGS, difference_rows, weak_rows
from tgrpo_envs.reward_tools.certify.summary import DEMAND_HEADINGS, by_suite, defaults_text, demand_rows
from tgrpo_envs.text_table import aligned

HEADINGS = ("producer", "specs", "passed", "static-only", "failed", "AUC", "VOC", "MV", "idle M", "random M", "stages")
NUMBERS = ("auc", "voc", "mv", "leak_idle", "leak_random")


def summary_rows(certificates: Sequence[Certificate]) -> list[tuple[str, ...]]:
    """A row per producer: how many specs passed, and means over its specs of the numbers that exist."""
    rows = []
    for producer in sorted({one.producer for one in certificates}):
        own = [one for one in certificates if one.producer == producer]
        verdicts = [sum(one.verdict == verdict for one in own) for verdict in ("passed", "static-only", "failed")]
        stages = fmean(len(one.timeline.stages) for one in own if one.timeline) if any(c.timeline for c in own) else 0
        numbers = [_mean(own, name) for name in NUMBERS]
        rows.append((producer, str(len(own)), *map(str, verdicts), *numbers, f"{stages:.1f}"))
    return rows


def text_table(certificates: Sequence[Certificate]) -> str:
    """Each suite's summary and demands, the producers compared, the weakest, and whose spec pays, in columns."""
    summary = [(suite, *row) for suite, own in by_suite(certificates) for row in summary_rows(own)]
    demands = [(suite, *row) for suite, own in by_suite(certificates) for row in demand_rows(own)]
    return "\n\n".join(
        [
            aligned([("suite", *HEADINGS), *summary]),
            "Specs that kept each demand, of those that could be asked, and the worst value:\n"
            + aligned([("suite", *DEMAND_HEADINGS), *demands]),
            "How the language model's specs differ from the compiler's, on the same states:\n"
            + aligned([DIFFERENCE_HEADINGS, *difference_rows(certificates)]),
            "The weakest (slack: the way to the nearest limit, as a share):\n"
            + aligned([WEAK_HEADINGS, *weak_rows(certificates)]),
            defaults_text(certificates),
        ]
    )


def html_page(certificates: Sequence[Certificate]) -> str:
    """The whole report as one self-contained document.

    Args:
        certificates: In the order of the benchmark, the producers of a task side by side.
    """
    counts = [sum(one.verdict == verdict for one in certificates) for verdict in ("passed", "static-only", "failed")]
    packs = ", ".join(sorted({one.evidence.pack for one in certificates}))
    subtitle = (
        f"{len(certificates)} specs: {counts[0]} passed, {counts[1]} static-only (no expert for the task), "
        f"{counts[2]} failed. Asset pack: {packs}. Each timeline is one episode. "
        "A draw is a set of initial states and noise: a spec that was changed after "
        "its certificate is certified again on the next one."
    )
    return render(
        __package__,
        "report.html",
        title="Certificates of stage rewards",
        subtitle=subtitle,
        defaults=defaults_text(certificates),
        legend=[("stage done", GREEN), ("progress, from 0 to 1", BLUE)],
        compared=(DIFFERENCE_HEADINGS, difference_rows(certificates)),
        weakest=(WEAK_HEADINGS, weak_rows(certificates)),
        headings=HEADINGS,
        demand_headings=DEMAND_HEADINGS,
        suites=[_suite(suite, own) for suite, own in by_suite(certificates)],
    )


def _suite(suite: str, certificates: Sequence[Certificate]) -> dict[str, Any]:
    return {
        "name": suite,
        "summary": summary_rows(certificates),
        "demands": demand_rows(certificates),
        "tasks": [
            {"name": task.replace("_", " "), "specs": [_spec(one) for one in own]}
            for task, own in groupby(certificates, key=lambda one: one.task)
        ],
    }


def _spec(certificate: Certificate) -> dict[str, Any]:
    shown = {"auc": "AUC", "voc": "VOC", "mv": "MV", "leak_idle": "idle", "leak_random": "random"}
    timeline = certificate.timeline
    return {
        "verdict": certificate.verdict,
        "producer": certificate.producer,
        "numbers": [
            *(f"{label} {_three(certificate.metrics[name].value)}" for name, label in shown.items()),
            f"draw {certificate.evidence.draw}",
        ],
        "failures": [
            f"{check.id} {_three(check.value)} (limit {check.threshold:g}): {check.note}"
            for check in certificate.failures
        ],
        "rows": _rows(timeline) if timeline else [],
        "axis": f"control steps, {timeline.kind}" if timeline else "",
        "ticks": ticks(timeline.steps) if timeline else [],
    }


def _rows(timeline: Timeline) -> list[Row]:
    """A bar for each stage where it is done, and progress as a line beneath."""
    empty = band(0, timeline.steps, EMPTY)
    rows = []
    for stage in timeline.stages:
        bands = (band(first - 1, last, GREEN) for first, last in stage.done)
        rows.append(Row(stage.id.replace("_", " "), drawing(timeline.steps, [empty, *bands])))
    curve = [rule(0.0, timeline.steps), line(np.array([0.0, *timeline.progress]), BLUE)]
    return [*rows, Row("progress", drawing(timeline.steps, curve), "bars")]


def _mean(certificates: Sequence[Certificate], name: str) -> str:
    values = [one.metrics[name].value for one in certificates]
    known = [value for value in values if value is not None]
    return f"{fmean(known):.3f}" if known else "-"


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
