"""Draws a certificate's timeline as SVG: a bar per stage where it is done, and progress as a line beneath."""

from __future__ import annotations

from html import escape

from tgrpo_envs.reward_tools.certify.certificate import Timeline

WIDTH, LABELS, ROW, CURVE = 640, 250, 15, 46  # units of the drawing
MAX_LABEL_CHARS = 38
MAX_POINTS = 120
DONE, EMPTY, LINE, INK = "#4a9d6b", "#eef1f4", "#1b6ca8", "#52606d"


def timeline_svg(timeline: Timeline) -> str:
    """One episode of a spec; time runs from left to right.

    Args:
        timeline: The stages and the progress.
    """
    height = ROW * len(timeline.stages) + CURVE + 16
    per_step = (WIDTH - LABELS) / max(timeline.steps, 1)
    rows = []
    for k, stage in enumerate(timeline.stages):
        top = ROW * k
        rows.append(_text(LABELS - 8, top + 11, _short(stage.id), "end"))
        rows.append(f'<rect x="{LABELS}" y="{top + 2}" width="{WIDTH - LABELS}" height="{ROW - 4}" fill="{EMPTY}"/>')
        for first, last in stage.done:
            left, width = LABELS + (first - 1) * per_step, (last - first + 1) * per_step
            rows.append(f'<rect x="{left:.1f}" y="{top + 2}" width="{width:.1f}" height="{ROW - 4}" fill="{DONE}"/>')
    floor = ROW * len(timeline.stages) + CURVE
    stride = max(1, -(-timeline.steps // MAX_POINTS))
    shown = sorted({*range(0, timeline.steps, stride), timeline.steps - 1})
    points = " ".join(
        f"{LABELS + (step + 1) * per_step:.1f},{floor - timeline.progress[step] * (CURVE - 6):.1f}" for step in shown
    )
    rows += [
        f'<line x1="{LABELS}" y1="{floor}" x2="{WIDTH}" y2="{floor}" stroke="{EMPTY}"/>',
        f'<polyline points="{points}" fill="none" stroke="{LINE}" stroke-width="1.5"/>',
        _text(LABELS - 8, floor - CURVE // 2 + 6, "progress", "end"),
        _text(WIDTH, floor + 12, f"{timeline.steps} control steps, {timeline.kind}", "end"),
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="system-ui, sans-serif" font-size="10.5">{"".join(rows)}</svg>'
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{INK}">{escape(words)}</text>'


def _short(name: str) -> str:
    return name if len(name) <= MAX_LABEL_CHARS else f"{name[: MAX_LABEL_CHARS - 1]}…"
