"""What certificates say of a whole suite: how many specs kept each demand, and whose spec pays where one failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from tgrpo_envs.reward_tools.certify.certificate import Certificate


class Demand(NamedTuple):
    """A number that every spec has to show.

    Attributes:
        heading: As in the table.
        check: Of `tgrpo_envs.reward_tools.certify.checks`; its value and threshold.
        at_least: Whether more is better.
    """

    heading: str
    check: str
    at_least: bool


DEMANDS = (
    Demand("expert in order >= 95 %", "D04", at_least=True),
    Demand("idle M <= 0.01", "D02", at_least=False),
    Demand("random M <= 0.15", "D03", at_least=False),
    Demand("AUC >= 0.95", "D08", at_least=True),
    Demand("bad policy <= near-miss", "D16", at_least=False),
)
DEMAND_HEADINGS = ("producer", *(demand.heading for demand in DEMANDS), "expert episodes in order")


def by_suite(certificates: Sequence[Certificate]) -> Iterator[tuple[str, list[Certificate]]]:
    """The certificates of each suite, which stand side by side."""
    for suite, own in groupby(certificates, key=lambda one: one.suite):
        yield suite, list(own)


def demand_rows(certificates: Sequence[Certificate]) -> list[tuple[str, ...]]:
    """A row per producer: for each demand the specs that kept it of those with evidence, and the worst value.

    The last column pools the expert's successful episodes of all specs: in how many every stage fired, in order.
    """
    rows = []
    for producer in sorted({one.producer for one in certificates}):
        own = [one for one in certificates if one.producer == producer]
        rows.append((producer, *(_kept(own, demand) for demand in DEMANDS), _pooled(own)))
    return rows


def defaults_text(certificates: Sequence[Certificate]) -> str:
    """Whose spec pays by default, in a sentence: the language model's where its certificate passed."""
    written = [one for one in certificates if one.producer == "llm"]
    others = [f"{one.suite}/{one.task} ({one.verdict})" for one in written if one.verdict != "passed"]
    text = f"By default the language model's spec pays in {len(written) - len(others)} of {len(written)} tasks"
    return (
        f"{text}; the compiler's, because the other one did not pass, in: {', '.join(others)}."
        if others
        else f"{text}."
    )


def _kept(certificates: Sequence[Certificate], demand: Demand) -> str:
    checks = [check for one in certificates for check in one.checks if check.id == demand.check]
    known = [check for check in checks if check.value is not None]
    if not known:
        return "-"
    values = [check.value for check in known if check.value is not None]
    worst = min(values) if demand.at_least else max(values)
    return f"{sum(check.passed is True for check in known)}/{len(known)} ({worst:.3f})"


def _pooled(certificates: Sequence[Certificate]) -> str:
    checks = [check for one in certificates for check in one.checks if check.id == "D04" and check.value is not None]
    total = sum(check.n for check in checks)
    ordered = sum(round(check.n * check.value) for check in checks if check.value is not None)
    return f"{ordered}/{total} ({ordered / total:.1%})" if total else "-"
