"""The timeline's rows: a label, a drawing over time, and what the row reads at the chosen moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tgrpo_envs.html import Markup, timeline
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

SCALES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # of the progress curves, for episodes that got nowhere


@dataclass(frozen=True)
class Row(timeline.Row):
    """A row that reads something at each moment.

    Attributes:
        texts_M: What the page's script writes into the row's element, plain text.
    """

    texts_M: list[str] = field(default_factory=list)


def stage_rows(trace: Trace) -> Iterator[Row]:
    """A row for each stage, in the order of the graph."""
    for k in topological_order(trace.spec):
        stage = trace.spec.stages[k]
        label = Markup('<b title="{}">{}</b>').format(stage.id, title(stage.id))
        texts = [stage_text(trace, k, m) for m in _moments(trace)]
        yield Row(label, stage_strip(trace, k), "", f"stage-{k}", texts)


def curve_rows(trace: Trace) -> Iterator[Row]:
    """Progress, reward, and the rules to maintain."""
    names = {"φ": "progress φ", "M": "best so far M", "ψ": "paid progress ψ"}
    swatch = Markup('<div><i class="swatch" style="background:{}"></i>{}</div>')
    label = Markup("").join(swatch.format(CURVE_COLOURS[key], name) for key, name in names.items())
    scale = next((top for top in SCALES if trace.best_M.max() <= top), 1.0)
    label += Markup("<div class=muted>full height {:g}</div>").format(scale)
    curves = {"φ": trace.progress_M, "M": trace.best_M, "ψ": trace.psi_M}
    texts = [", ".join(f"{key} {values_M[m]:.4f}" for key, values_M in curves.items()) for m in _moments(trace)]
    yield Row(label, progress_curves(trace, scale), "tall", "curves", texts)

    before_success = np.abs(trace.reward_M[:-1] if trace.success else trace.reward_M)
    largest = float(before_success.max()) or 1.0
    cut = "; the success is cut" if trace.success and trace.reward_M[-1] > largest else ""
    note = Markup("reward of each step<br><span class=muted>full height {:.4f}{}</span>").format(largest, cut)
    total_M = trace.reward_M.cumsum()
    texts = [f"reward {signed(float(r))}, return {total:.4f}" for r, total in zip(trace.reward_M, total_M, strict=True)]
    yield Row(note, reward_bars(trace, largest), "bars", "reward", texts)


def atom_rows(trace: Trace, goal: Conjuncts) -> Iterator[Row]:
    """A thin row for each atom, numbered as in the table of all steps, then one for each rule to maintain."""
    for a, atom in enumerate(trace.predicates):
        label = Markup("<span class=muted>{}</span> {}").format(a + 1, condition_words(atom.predicate, goal))
        texts = [readings_text(atom.readings, m) for m in _moments(trace)]
        yield Row(label, truth_strip(atom.truth_M), "thin", f"atom-{a}", texts)
    for j, (rule, holds_M) in enumerate(zip(trace.spec.maintain, trace.verdict.seen.maintained_JN, strict=True)):
        label = Markup("<span class=muted>to maintain:</span> {}").format(condition_words(rule.holds, goal))
        texts = ["kept" if holds else f"broken, × {1 - rule.cost_frac:g}" for holds in holds_M]
        yield Row(label, truth_strip(holds_M, false_fill=BROKEN_FILL), "thin", f"rule-{j}", texts)


def _moments(trace: Trace) -> range:
    return range(len(trace) + 1)
