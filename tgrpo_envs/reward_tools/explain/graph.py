"""Draws a spec's stages as a graph, left to right: a stage stands right of all it comes after."""

from __future__ import annotations

import textwrap

from tgrpo_envs.html import Markup
from tgrpo_envs.rewards.describe import title
from tgrpo_envs.rewards.spec import StageSpec, predecessors, topological_order

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 186, 62, 36, 16, 4
LINE_CHARS, MAX_LINES = 23, 2


def stage_graph(spec: StageSpec) -> Markup:
    """An SVG with one box for each stage, named ``node-K`` for the page's script, and an arrow for each `after`."""
    before = predecessors(spec)
    places = _places(spec)
    columns = 1 + max(column for column, _ in places)
    rows = 1 + max(row for _, row in places)
    width = columns * (BOX_WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    height = rows * (BOX_HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    arrows = "".join(_arrow(places[p], places[k]) for k, rows_before in enumerate(before) for p in rows_before)
    boxes = "".join(_box(spec, k, places[k]) for k in range(len(spec.stages)))
    head = (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8Z" fill="#9aa5b1"/></marker></defs>'
    )
    return Markup(
        f'<svg class="graph" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="The stages and their order">{head}{arrows}{boxes}</svg>'
    )


def _places(spec: StageSpec) -> list[tuple[int, int]]:
    """(column, row) of each stage: columns by depth, rows by branch, so that a chain runs straight."""
    before = predecessors(spec)
    columns, rows = [0] * len(before), [0] * len(before)
    taken: set[tuple[int, int]] = set()
    for k in topological_order(spec):
        columns[k] = 1 + max((columns[p] for p in before[k]), default=-1)
        wanted = min((rows[p] for p in before[k]), default=0)
        while (columns[k], wanted) in taken:
            wanted += 1
        rows[k] = wanted
        taken.add((columns[k], wanted))
    return list(zip(columns, rows, strict=True))


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    column, row = place
    return MARGIN + column * (BOX_WIDTH + GAP_X), MARGIN + row * (BOX_HEIGHT + GAP_Y)


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x0, y0), (x1, y1) = _corner(start), _corner(end)
    x0, y0, y1 = x0 + BOX_WIDTH, y0 + BOX_HEIGHT // 2, y1 + BOX_HEIGHT // 2
    bend = max(GAP_X, (x1 - x0) // 2)
    path = f"M{x0} {y0}C{x0 + bend} {y0} {x1 - bend} {y1} {x1} {y1}"
    return f'<path d="{path}" fill="none" stroke="#9aa5b1" stroke-width="1.5" marker-end="url(#arrow)"/>'


def _box(spec: StageSpec, k: int, place: tuple[int, int]) -> Markup:
    stage = spec.stages[k]
    x, y = _corner(place)
    lines = textwrap.wrap(title(stage.id), LINE_CHARS, max_lines=MAX_LINES, placeholder="…")
    hold = f", hold {stage.hold_steps}" if stage.hold_steps > 1 else ""
    note = f"effort {stage.effort}, {stage.latch}{hold}"
    text = Markup('<text x="{}" y="{}" class="{}">{}</text>')
    texts = [text.format(x + 10, y + 19 + 15 * i, "name", line) for i, line in enumerate(lines)]
    texts.append(text.format(x + 10, y + BOX_HEIGHT - 8, "note", note))
    rect = Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="7"/>').format(x, y, BOX_WIDTH, BOX_HEIGHT)
    group = Markup('<g class="node" id="node-{}"><title>{}</title>{}{}</g>')
    return group.format(k, stage.id, rect, Markup("").join(texts))
