"""The page of one episode: a single HTML file that needs nothing from outside and runs no script but its own.

Everything that comes from a file (names, rationales) is escaped; the page's policy also forbids every script but the
one that is named by its hash, and every address outside the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template

from tgrpo_envs.recording.video import Video
from tgrpo_envs.reward_tools.explain.graph import stage_graph
from tgrpo_envs.reward_tools.explain.rows import atom_rows, curve_rows, stage_rows, ticks
from tgrpo_envs.reward_tools.explain.why import Explanation, explain_step, signed
from tgrpo_envs.reward_tools.explain.wording import stage_state
from tgrpo_envs.rewards.describe import CONTROL_STEP_S, Conjuncts, condition_words, maintain_sentence, sentence, title
from tgrpo_envs.rewards.spec import spec_id
from tgrpo_envs.rewards.trace import Trace

_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>
$style
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="muted">$subtitle</p>
$sections
</main>
<script type="application/json" id="trace">$data</script>
<script>$script</script>
</body>
</html>
"""
)


def episode_page(trace: Trace, heading: str, subtitle: str, goal: Conjuncts, video: Video | str) -> str:
    """The whole document.

    Args:
        trace: The episode under its spec.
        heading: Title of the page.
        subtitle: What the episode is of.
        goal: The task's conjuncts, to name them.
        video: The episode's pictures at 1 / `CONTROL_STEP_S` frames a second, one for each moment; or why there are
            none.
    """
    explanations = [explain_step(trace, m, goal) for m in range(len(trace) + 1)]
    stages, curves, atoms = list(stage_rows(trace)), list(curve_rows(trace)), list(atom_rows(trace, goal))
    timeline = (
        f'<div class="timeline">{ticks(trace)}{"".join(row.html() for row in (*stages, *curves))}'
        f"<h3>Atoms: what the stages ask for, when it holds, and the numbers at the chosen step</h3>"
        f'{"".join(row.html() for row in atoms)}<div id="layer"><div id="cursor"></div></div></div>{_LEGEND}'
    )
    data = {
        "fps": round(1 / CONTROL_STEP_S),
        "explanations": [_explanation(one) for one in explanations],
        "paid": [m for m, reward in enumerate(trace.reward_M) if reward],
        "readings": {row.id: row.texts_M for row in (*stages, *curves, *atoms)},
        "states": [[stage_state(trace, k, m) for m in range(len(trace) + 1)] for k in range(len(trace.spec.stages))],
    }
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _PAGE.substitute(
        policy=f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
        title=escape(heading),
        subtitle=escape(subtitle),
        style=_asset("page.css"),
        sections="\n".join(
            [
                _tiles(trace),
                _card("Why did this step pay?", _watch(video, len(trace))),
                _card("Timeline", timeline),
                _card("Steps that paid or took back", _paid(trace, explanations)),
                _card("What the spec says", _spec(trace, goal)),
                _card("Every step", _truth_table(trace, goal)),
            ]
        ),
        data=_inert_json(data),
        script=script,
    )


_LEGEND = (
    '<div class="legend"><span><i class="swatch" style="background:#eef1f4"></i>not open yet, or false</span>'
    '<span><i class="swatch" style="background:#fbecc8"></i>open</span>'
    '<span><i class="swatch" style="background:#e0a52e"></i>credit of the ramp (full height: the whole stage)</span>'
    '<span><i class="swatch" style="background:#f6d5c3"></i>open, but its “while” fails</span>'
    '<span><i class="swatch" style="background:#3a9d5d"></i>done</span>'
    '<span><i class="swatch" style="background:#8fcaa2"></i>done, because the goal it leads to holds</span>'
    '<span><i class="swatch" style="background:#5fa8b8"></i>true</span></div>'
)


def _inert_json(data: object) -> str:
    """JSON that cannot end the element it stands in, whatever text it holds."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _explanation(one: Explanation) -> dict[str, object]:
    causes = [[cause.heading, cause.lines] for cause in one.causes]
    return {"headline": one.headline, "tone": one.tone, "causes": causes, "sums": one.sums}


def _asset(name: str) -> str:
    return resources.files("tgrpo_envs.reward_tools.explain").joinpath(name).read_text(encoding="utf-8")


def _card(heading: str, body: str) -> str:
    return f'<section class="card"><h2>{heading}</h2>{body}</section>'


def _tiles(trace: Trace) -> str:
    done = int(trace.verdict.done_KN[:, -1].sum())
    numbers = [
        (f"{trace.reward_M.sum():.4f}", "return"),
        ("success" if trace.success else "no success", f"after {len(trace)} of at most {trace.horizon} control steps"),
        (f"{trace.best_M[-1]:.4f}", "best progress M"),
        (f"{done} of {len(trace.spec.stages)}", "stages done at the end"),
        (f"{int((trace.reward_M != 0).sum())}", "steps that paid or took back"),
    ]
    tiles = "".join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for value, name in numbers)
    return f'<div class="headline">{tiles}</div>'


def _watch(video: Video | str, steps: int) -> str:
    return (
        f'<div class="watch"><div>{_screen(video)}<div class="transport">'
        '<button id="paid-back" title="Previous step that paid">⇤ paid</button><button id="back">−1</button>'
        '<button id="play">Play</button><button id="next">+1</button>'
        '<button id="paid-next" title="Next step that paid">paid ⇥</button>'
        f'<input id="slider" type="range" min="0" max="{steps}" value="0" aria-label="Control step">'
        '<output id="clock"></output></div></div><aside id="why"></aside></div>'
    )


def _screen(video: Video | str) -> str:
    if isinstance(video, str):
        return f'<p class="absent">No video: {escape(video)}</p>'
    if video.suffix != ".mp4":
        return (
            f'{video.element()}<p class="muted">An animated picture plays by itself, not in step with the slider.</p>'
        )
    data = base64.b64encode(video.content).decode()
    return f'<video muted playsinline preload="auto" src="data:video/mp4;base64,{data}"></video>'


def _paid(trace: Trace, explanations: Sequence[Explanation]) -> str:
    rows = "".join(
        f'<tr data-moment="{m}"><td>{m}</td><td class="{"up" if reward > 0 else "down"}">{signed(float(reward))}</td>'
        f"<td>{trace.reward_M[: m + 1].sum():.4f}</td><td>{_summary(explanations[m])}</td></tr>"
        for m, reward in enumerate(trace.reward_M)
        if reward
    )
    if not rows:
        return f'<p class="muted">None. {_nothing(trace)}</p>'
    head = "<thead><tr><th>Step</th><th>Reward</th><th>Return</th><th>Because</th></tr></thead>"
    return f'<div class="scroll"><table class="paid">{head}<tbody>{rows}</tbody></table></div>'


def _nothing(trace: Trace) -> str:
    if not trace.profile.pay:
        return "This profile pays success alone, and the episode did not succeed."
    reached, quantum = trace.best_M.max(), trace.profile.quantum
    return f"The best progress was {reached:.4f}, and the first quantum to be paid is {quantum:.4f}."


def _summary(explanation: Explanation) -> str:
    moved = [cause.heading for cause in explanation.causes if "credit stays" not in cause.heading]
    return "<br>".join(escape(heading) for heading in moved)


def _spec(trace: Trace, goal: Conjuncts) -> str:
    spec = trace.spec
    items = "".join(
        f"<li><b>{escape(title(stage.id))}</b> <span class=muted>(effort {stage.effort})</span> "
        f"{escape(sentence(stage, goal))}"
        f"{f'<br><span class=muted>{escape(stage.rationale)}</span>' if stage.rationale else ''}</li>"
        for stage in spec.stages
    )
    rules = "".join(f"<p>{escape(maintain_sentence(rule, goal))}</p>" for rule in spec.maintain)
    profile = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                        for name, value in trace.profile.model_dump().items())  # fmt: skip
    text = spec.model_dump_json(indent=2, by_alias=True, exclude_defaults=True)
    return (
        f'<div class="scroll">{stage_graph(spec)}</div><ol class="spec">{items}</ol>{rules}'
        f'<p class="muted">Paid by the profile: {escape(profile)}. Spec {spec_id(spec)[:12]}.</p>'
        f"<details><summary>The spec as JSON</summary><pre>{escape(text)}</pre></details>"
    )


def _truth_table(trace: Trace, goal: Conjuncts) -> str:
    head = "".join(
        f'<th title="{escape(condition_words(atom.predicate, goal))}">{a + 1}</th>'
        for a, atom in enumerate(trace.predicates)
    )
    rows = "".join(
        f"<tr><td>{m}</td><td>{signed(float(trace.reward_M[m]))}</td><td>{trace.progress_M[m]:.4f}</td>"
        + "".join('<td class="yes">●</td>' if atom.truth_M[m] else '<td class="no">·</td>' for atom in trace.predicates)
        + "</tr>"
        for m in range(len(trace) + 1)
    )
    return (
        "<details><summary>Each atom at each step, true (●) or false (·)</summary>"
        f'<div class="scroll"><table class="truth"><tr><th>step</th><th>reward</th><th>φ</th>{head}</tr>{rows}</table>'
        "</div></details>"
    )
