"""Judgements as tables of suites and of tasks, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from tgrpo_envs.intervals import wilson_interval
from tgrpo_envs.reward_tools.certify.metrics import Estimate, bootstrap
from tgrpo_envs.reward_tools.compare.judge import REWARDS, Judgement
from tgrpo_envs.reward_tools.compare.statistics import mean

SUITE_HEADING = (
    "suite",
    "tasks",
    "groups",
    *(f"usable, {reward}" for reward in REWARDS),
    *(f"C, {reward}" for reward in REWARDS),
    "C of failures, compiled",
    "llm",
    "llm less compiled [95 %]",
    "better/equal/worse",
    "alike",
)
TASK_HEADING = (
    "suite",
    "task",
    "successes",
    "pairs",
    *(f"usable, {reward}" for reward in REWARDS),
    "C, compiled",
    "llm",
    "C of failures, compiled",
    "llm",
    "alike",
    "name",
)
_SAME = 1e-9


def suite_rows(judgements: Sequence[Judgement]) -> list[tuple[str, ...]]:
    """A heading, a row for each suite and one for all: means over tasks."""
    suites = list(dict.fromkeys(one.suite for one in judgements))
    rows = [_suite_row(suite, [one for one in judgements if one.suite == suite]) for suite in suites]
    if len(suites) > 1:
        rows.append(_suite_row("all", judgements))
    return [SUITE_HEADING, *rows]


def gain(judgements: Sequence[Judgement]) -> Estimate:
    """Mean over tasks of how much better the language model's spec orders failures, tasks drawn anew."""
    return bootstrap([[one.gain() for one in judgements if not math.isnan(one.gain())]])


def verdicts(judgements: Sequence[Judgement]) -> tuple[int, int, int]:
    """In how many tasks the language model's spec orders failures better, equally well and worse."""
    gains = [one.gain() for one in judgements if not math.isnan(one.gain())]
    better, worse = sum(each > _SAME for each in gains), sum(each < -_SAME for each in gains)
    return better, len(gains) - better - worse, worse


def _suite_row(suite: str, judgements: Sequence[Judgement]) -> tuple[str, ...]:
    groups = sum(one.groups for one in judgements)
    usable = [sum(one.rankings[reward].usable for one in judgements) for reward in REWARDS]
    orders = [mean([one.rankings[reward].order for one in judgements]) for reward in REWARDS]
    failures = [mean([one.rankings[reward].order_failures for one in judgements]) for reward in REWARDS[1:]]
    difference = gain(judgements)
    shown = (
        "-" if difference.value is None else f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    )
    return (
        suite,
        str(len(judgements)),
        str(groups),
        *(str(number) for number in usable),
        *(_share(order) for order in orders),
        *(_share(order) for order in failures),
        shown,
        "/".join(map(str, verdicts(judgements))),
        _share(mean([one.alike for one in judgements])),
    )


def task_rows(judgements: Sequence[Judgement]) -> list[tuple[str, ...]]:
    """A heading and a row for each task."""
    return [TASK_HEADING, *map(_task_row, judgements)]


def _task_row(one: Judgement) -> tuple[str, ...]:
    ranked = [one.rankings[reward] for reward in REWARDS[1:]]
    return (
        one.suite,
        str(one.index),
        f"{one.successes}/{8 * one.groups}",
        f"{one.pairs}, {one.pairs_failures}",
        *(f"{one.rankings[reward].usable}/{one.groups}" for reward in REWARDS),
        *(_share(ranking.order) for ranking in ranked),
        *(_share(ranking.order_failures) for ranking in ranked),
        _share(one.alike),
        one.task,
    )


def conclusion(judgements: Sequence[Judgement], not_run: Sequence[str]) -> str:
    """In words: whose spec orders failures better, and which tasks say nothing."""
    better, equal, worse = verdicts(judgements)
    difference = gain(judgements)
    lines = [
        f"The language model's spec orders failures better in {better} tasks, equally in {equal}, worse in {worse}"
    ]
    if better + worse:
        low, high = wilson_interval(better, better + worse)
        lines[0] += f" (better in {better / (better + worse):.0%} [{low:.0%}, {high:.0%}] of those that differ)"
    if difference.value is not None:
        lines[0] += f"; on average by {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    lines[0] += "."
    if not_run:
        lines.append(f"Not run, {len(not_run)} tasks: {'; '.join(not_run)}.")
    return "\n".join(lines)


def as_json(judgements: Sequence[Judgement], not_run: Sequence[str]) -> str:
    """All numbers."""
    document = {"tasks": [one.model_dump(mode="json") for one in judgements], "not_run": list(not_run)}
    return json.dumps(document, indent=1) + "\n"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
