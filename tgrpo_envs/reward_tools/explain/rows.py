"""The timeline's rows: a label, a drawing over time, and what the row reads at the chosen moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import numpy as np

from tgrpo_envs.reward_tools.explain.drawings import (
    BROKEN_FILL,
    CURVE_COLOURS,
    progress_curves,
    reward_bars,
    stage_strip,
    truth_strip,
)
from tgrpo_envs.reward_tools.explain.why import signed
from tgrpo_envs.reward_tools.explain.wording import readings_text, stage_text
from tgrpo_envs.rewards.describe import Conjuncts, condition_words, title
from tgrpo_envs.rewards.spec import topological_order
from tgrpo_envs.rewards.trace import Trace

MAX_TICKS = 9
SCALES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # of the progress curves, for episodes that got nowhere


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        id: Names the element that the page's script fills.
        kind: CSS class: "" (a stage), "tall", "bars" or "thin".
        label: What the row shows, HTML.
        drawing: SVG.
        texts_M: What it reads at each moment, plain text.
    """

    id: str
    kind: str
    label: str
    drawing: str
    texts_M: list[str]

    def html(self) -> str:
        """The row without its reading, which the script writes."""
        return (
            f'<div class="row {self.kind}"><div class="label">{self.label}</div><div class="plot">{self.drawing}</div>'
            f'<div class="now" id="{self.id}"></div></div>'
        )


def stage_rows(trace: Trace) -> Iterator[Row]:
    """A row for each stage, in the order of the graph."""
    for k in topological_order(trace.spec):
        stage = trace.spec.stages[k]
        label = f'<b title="{escape(stage.id)}">{escape(title(stage.id))}</b>'
        yield Row(f"stage-{k}", "", label, stage_strip(trace, k), [stage_text(trace, k, m) for m in _moments(trace)])


def curve_rows(trace: Trace) -> Iterator[Row]:
    """Progress, reward, and the rules to maintain."""
    names = {"φ": "progress φ", "M": "best so far M", "ψ": "paid progress ψ"}
    label = "".join(
        f'<div><span class="swatch" style="background:{CURVE_COLOURS[key]}"></span>{name}</div>'
        for key, name in names.items()
    )
    scale = next((top for top in SCALES if trace.best_M.max() <= top), 1.0)
    label += f"<div class=muted>full height {scale:g}</div>"
    curves = {"φ": trace.progress_M, "M": trace.best_M, "ψ": trace.psi_M}
    texts = [", ".join(f"{key} {values_M[m]:.4f}" for key, values_M in curves.items()) for m in _moments(trace)]
    yield Row("curves", "tall", label, progress_curves(trace, scale), texts)

    before_success = np.abs(trace.reward_M[:-1] if trace.success else trace.reward_M)
    largest = float(before_success.max()) or 1.0
    cut = "; the success is cut" if trace.success and trace.reward_M[-1] > largest else ""
    note = f"reward of each step<br><span class=muted>full height {largest:.4f}{cut}</span>"
    total_M = trace.reward_M.cumsum()
    texts = [f"reward {signed(float(r))}, return {total:.4f}" for r, total in zip(trace.reward_M, total_M, strict=True)]
    yield Row("reward", "bars", note, reward_bars(trace, largest), texts)


def atom_rows(trace: Trace, goal: Conjuncts) -> Iterator[Row]:
    """A thin row for each atom, numbered as in the table of all steps, then one for each rule to maintain."""
    for a, atom in enumerate(trace.predicates):
        label = f"<span class=muted>{a + 1}</span> {escape(condition_words(atom.predicate, goal))}"
        texts = [readings_text(atom.readings, m) for m in _moments(trace)]
        yield Row(f"atom-{a}", "thin", label, truth_strip(trace, atom.truth_M), texts)
    for j, (rule, holds_M) in enumerate(zip(trace.spec.maintain, trace.verdict.seen.maintained_JN, strict=True)):
        label = f"<span class=muted>to maintain:</span> {escape(condition_words(rule.holds, goal))}"
        texts = ["kept" if holds else f"broken, × {1 - rule.cost_frac:g}" for holds in holds_M]
        yield Row(f"rule-{j}", "thin", label, truth_strip(trace, holds_M, false_fill=BROKEN_FILL), texts)


def ticks(trace: Trace) -> str:
    """The axis: step numbers at round places."""
    steps = max(len(trace), 1)
    every = next(size for size in (1, 2, 5, 10, 20, 50, 100, 200, 500) if steps / size <= MAX_TICKS or size == 500)
    marks = "".join(f'<span style="left:{100 * m / steps:.2f}%">{m}</span>' for m in range(0, steps + 1, every))
    return (
        f'<div class="row"><div class="label muted">control step</div><div class="ticks">{marks}</div><div></div></div>'
    )


def _moments(trace: Trace) -> range:
    return range(len(trace) + 1)
