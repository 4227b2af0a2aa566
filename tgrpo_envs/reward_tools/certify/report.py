"""Certificates as a report: tables of the suites in text, and one page with numbers and a timeline for each spec."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from statistics import fmean

from tgrpo_envs.reward_tools.certify.certificate import Certificate
from tgrpo_envs.reward_tools.certify.comparison import DIFFERENCE_HEADINGS, WEAK_HEADINGS, difference_rows, weak_rows
from tgrpo_envs.reward_tools.certify.drawing import timeline_svg
from tgrpo_envs.reward_tools.certify.summary import DEMAND_HEADINGS, by_suite, defaults_text, demand_rows

HEADINGS = ("producer", "specs", "passed", "static-only", "failed", "AUC", "VOC", "MV", "idle M", "random M", "stages")
NUMBERS = ("auc", "voc", "mv", "leak_idle", "leak_random")

_STYLE = """
  :root { --ink: #1f2933; --muted: #616e7c; --line: #e4e7eb; --green: #2f7d4c; --red: #b44d12; --grey: #7b8794; }
  * { box-sizing: border-box; }
  body { margin: 0; background: #f7f9fb; color: var(--ink); font: 14px/1.5 system-ui, -apple-system, "Segoe UI",
         Roboto, "Helvetica Neue", Arial, sans-serif; }
  main { max-width: 1280px; margin: 0 auto; padding: 32px 20px 60px; }
  h1 { font-size: 24px; margin: 0 0 2px; } h2 { font-size: 17px; margin: 0 0 10px; } h3 { font-size: 14px; margin: 0; }
  .muted { color: var(--muted); }
  .card { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 16px 20px; margin-top: 16px;
          overflow-x: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin-bottom: 14px; }
  th { text-align: left; font-weight: 600; color: var(--muted); font-size: 12.5px; }
  th, td { padding: 4px 18px 4px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
  .task { border-top: 1px solid var(--line); padding: 14px 0; }
  .specs { display: grid; grid-template-columns: repeat(auto-fill, minmax(560px, 1fr)); gap: 10px 28px; }
  .numbers { font-size: 12px; font-variant-numeric: tabular-nums; white-space: nowrap; }
  .badge { color: #fff; border-radius: 4px; padding: 0 7px; font-size: 12.5px; margin-right: 6px; }
  .passed { background: var(--green); } .failed { background: var(--red); } .static-only { background: var(--grey); }
  .why { color: var(--red); font-size: 13px; }
  svg { display: block; width: 100%; height: auto; margin-top: 6px; }
"""


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
            _aligned([("suite", *HEADINGS), *summary]),
            "Specs that kept each demand, of those that could be asked, and the worst value:\n"
            + _aligned([("suite", *DEMAND_HEADINGS), *demands]),
            "How the language model's specs differ from the compiler's, on the same states:\n"
            + _aligned([DIFFERENCE_HEADINGS, *difference_rows(certificates)]),
            "The weakest (slack: the way to the nearest limit, as a share):\n"
            + _aligned([WEAK_HEADINGS, *weak_rows(certificates)]),
            defaults_text(certificates),
        ]
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def html_page(certificates: Sequence[Certificate]) -> str:
    """The whole report as one self-contained document.

    Args:
        certificates: In the order of the benchmark, the producers of a task side by side.
    """
    counts = [sum(one.verdict == verdict for one in certificates) for verdict in ("passed", "static-only", "failed")]
    packs = ", ".join(sorted({one.evidence.pack for one in certificates}))
    subtitle = (
        f"{len(certificates)} specs: {counts[0]} passed, {counts[1]} static-only (no expert for the task), "
        f"{counts[2]} failed. Asset pack: {packs}. Timelines show one episode: green where a stage is done, "
        "the line is progress from 0 to 1. A draw is a set of initial states and noise: a spec that was changed after "
        "its certificate is certified again on the next one."
    )
    compared = _table(DIFFERENCE_HEADINGS, difference_rows(certificates)) + _table(
        WEAK_HEADINGS, weak_rows(certificates)
    )
    suites = "".join(_suite_card(suite, own) for suite, own in by_suite(certificates))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<title>Certificates of stage rewards</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Certificates of stage rewards</h1>\n"
        f'<p class="muted">{escape(subtitle)}</p>\n<p>{escape(defaults_text(certificates))}</p>\n'
        f'<section class="card"><h2>producers compared, and the weakest</h2>{compared}</section>\n'
        f"{suites}</main>\n</body>\n</html>\n"
    )


def _suite_card(suite: str, certificates: Sequence[Certificate]) -> str:
    tables = _table(HEADINGS, summary_rows(certificates)) + _table(DEMAND_HEADINGS, demand_rows(certificates))
    tasks = "".join(_task_block(task, list(own)) for task, own in groupby(certificates, key=lambda one: one.task))
    return f'<section class="card"><h2>{suite}</h2>{tables}{tasks}</section>\n'


def _table(headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    header = "".join(f"<th>{escape(name)}</th>" for name in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{header}</tr>{body}</table>"


def _task_block(task: str, certificates: Sequence[Certificate]) -> str:
    specs = "".join(_spec_block(one) for one in certificates)
    return f'<div class="task"><h3>{escape(task.replace("_", " "))}</h3><div class="specs">{specs}</div></div>\n'


def _spec_block(certificate: Certificate) -> str:
    shown = {"auc": "AUC", "voc": "VOC", "mv": "MV", "leak_idle": "idle", "leak_random": "random"}
    numbers = " · ".join(f"{label} {_number(certificate, name)}" for name, label in shown.items())
    states = f"draw {certificate.evidence.draw}"
    failures = "".join(
        f'<div class="why">{check.id} {_three(check.value)} (limit {check.threshold:g}): {escape(check.note)}</div>'
        for check in certificate.failures
    )
    drawing = timeline_svg(certificate.timeline) if certificate.timeline else '<p class="muted">no episode to show</p>'
    return (
        f'<div><div class="numbers"><span class="badge {certificate.verdict}">{certificate.verdict}</span>'
        f"<b>{escape(certificate.producer)}</b> · {numbers} · {states}</div>{failures}{drawing}</div>"
    )


def _mean(certificates: Sequence[Certificate], name: str) -> str:
    values = [one.metrics[name].value for one in certificates]
    known = [value for value in values if value is not None]
    return f"{fmean(known):.3f}" if known else "-"


def _number(certificate: Certificate, name: str) -> str:
    return _three(certificate.metrics[name].value)


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
