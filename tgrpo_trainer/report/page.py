"""The report's page: headings, tables and style; every number and drawing is handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from string import Template

from tgrpo_trainer.evaluation.result import Evaluation, Pooled
from tgrpo_trainer.report.plots import COLOURS, interval_bar, readable

_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  :root { --ink: #1f2933; --muted: #616e7c; --line: #e4e7eb; --blue: #1b6ca8; --green: #2f7d4c; --red: #b44d12; }
  * { box-sizing: border-box; }
  body { margin: 0; background: #f7f9fb; color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI",
         Roboto, "Helvetica Neue", Arial, sans-serif; }
  main { max-width: 1060px; margin: 0 auto; padding: 36px 20px 60px; }
  h1 { font-size: 25px; margin: 0 0 2px; letter-spacing: -0.01em; }
  h2 { font-size: 17px; margin: 0 0 10px; }
  h3 { font-size: 15px; margin: 0 0 8px; }
  p { margin: 6px 0; }
  .muted { color: var(--muted); }
  .card { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 18px 22px; margin-top: 18px;
          overflow-x: auto; }
  .headline { display: flex; flex-wrap: wrap; gap: 14px; margin-top: 18px; }
  .tile { flex: 1 1 170px; background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; }
  .tile b { display: block; font-size: 23px; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
  .tile span { color: var(--muted); font-size: 13px; }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
  th { text-align: left; font-weight: 600; color: var(--muted); font-size: 13px; }
  th, td { padding: 7px 8px 7px 0; border-bottom: 1px solid var(--line); vertical-align: middle; white-space: nowrap; }
  .stages th { white-space: normal; }
  tr:last-child td { border-bottom: 0; }
  .interval { width: 120px; height: 12px; display: inline-block; vertical-align: middle; margin-left: 10px; }
  .up { color: var(--green); } .down { color: var(--red); }
  .plot svg { width: 100%; height: auto; }
  .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 26px; }
  video, .pair img { width: 100%; border-radius: 6px; background: #000; display: block; }
  pre { font-size: 12.5px; line-height: 1.45; overflow-x: auto; }
  summary { cursor: pointer; font-weight: 600; }
  .swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin: 0 4px 0 10px; }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="muted">$subtitle</p>
$sections
</main>
</body>
</html>
"""
)

SET_NAMES = {"heldout": "Held-out region states", "official": "LIBERO's official states"}


def page(title: str, subtitle: str, sections: Sequence[str]) -> str:
    """The whole document."""
    return _PAGE.substitute(title=escape(title), subtitle=escape(subtitle), sections="\n".join(sections))


def card(heading: str, body: str, note: str = "") -> str:
    """One section."""
    comment = f'<p class="muted">{escape(note)}</p>' if note else ""
    return f'<section class="card"><h2>{escape(heading)}</h2>{body}{comment}</section>'


def plot(svg: str) -> str:
    """A drawing at the width of its section."""
    return f'<div class="plot">{svg}</div>'


def tiles(numbers: Mapping[str, str]) -> str:
    """A row of large numbers with a caption each."""
    items = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in numbers.items()
    )
    return f'<div class="headline">{items}</div>'


def success_table(before: Mapping[str, Pooled], after: Mapping[str, Pooled]) -> str:
    """One row per set and mode: k/n with its interval before and after training, and the difference in points."""
    titles = ("States", "Actions", "Before (behaviour cloning)", "After (TGRPO)", "Points")
    header = "<tr>" + "".join(f"<th>{title}</th>" for title in titles) + "</tr>"
    rows = []
    for key in COLOURS:
        if key not in after:
            continue
        start, end = before.get(key), after[key]
        change = "" if start is None else _points(end.success_rate - start.success_rate)
        rows.append(
            f"<tr><td>{SET_NAMES[end.states]}</td><td>{end.mode}</td>"
            f"<td>{_cell(start, key)}</td><td>{_cell(end, key)}</td><td>{change}</td></tr>"
        )
    return f"<table>{header}{''.join(rows)}</table>"


def stage_table(evaluations: Sequence[Evaluation]) -> str:
    """How far the evaluated episodes got: how many reached 0, 1, ... stages."""
    if not evaluations:
        return ""
    names = ("none", *evaluations[0].stage_names)
    header = "".join(f"<th>{escape(readable(name))}</th>" for name in names)
    rows = "".join(
        f"<tr><td>{SET_NAMES[one.states]}, {one.mode}</td>"
        + "".join(f"<td>{count}</td>" for count in one.stage_histogram())
        + "</tr>"
        for one in evaluations
    )
    return f'<table class="stages"><tr><th>Last stage reached</th>{header}</tr>{rows}</table>'


def details(summary: str, text: str) -> str:
    """Folded preformatted text."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def _cell(evaluation: Pooled | None, key: str) -> str:
    if evaluation is None:
        return "not evaluated"
    return f"{escape(str(evaluation))}{interval_bar(evaluation, COLOURS[key])}"


def _points(change: float) -> str:
    style = "up" if change > 0 else "down" if change < 0 else "muted"
    return f'<span class="{style}">{100 * change:+.0f}</span>'
