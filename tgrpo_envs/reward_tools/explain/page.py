"""The page of one episode: a single HTML file that needs nothing from outside and runs no script but its own.

Everything that comes from a file (names, rationales) is escaped; the page's policy also forbids every script but the
one that is named by its hash, and every address outside the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from tgrpo_envs.html import Markup, render, source
from tgrpo_envs.html.timeline import ticks
from tgrpo_envs.recording.video import Video
from tgrpo_envs.reward_tools.explain.drawings import LEGEND
from tgrpo_envs.reward_tools.explain.graph import stage_graph
from tgrpo_envs.reward_tools.explain.rows import atom_rows, curve_rows, stage_rows
from tgrpo_envs.reward_tools.explain.why import Explanation, explain_step, signed
from tgrpo_envs.reward_tools.explain.wording import stage_state
from tgrpo_envs.rewards.describe import CONTROL_STEP_S, Conjuncts, condition_words, maintain_sentence, sentence, title
from tgrpo_envs.rewards.spec import spec_id
from tgrpo_envs.rewards.trace import Trace


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
    data = {
        "fps": round(1 / CONTROL_STEP_S),
        "explanations": [_explanation(one) for one in explanations],
        "paid": [m for m, reward in enumerate(trace.reward_M) if reward],
        "readings": {row.id: row.texts_M for row in (*stages, *curves, *atoms)},
        "states": [[stage_state(trace, k, m) for m in range(len(trace) + 1)] for k in range(len(trace.spec.stages))],
    }
    script = source(__package__, "episode.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render(
        __package__,
        "episode.html",
        title=heading,
        subtitle=subtitle,
        policy=f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
        numbers=_numbers(trace),
        video=None if isinstance(video, str) else video,
        missing_video=video,
        steps=len(trace),
        ticks=ticks(len(trace)),
        stages=stages,
        curves=curves,
        atoms=atoms,
        legend=LEGEND,
        paid=list(_paid(trace, explanations)),
        nothing=_nothing(trace),
        **_spec(trace, goal),
        atom_words=[condition_words(atom.predicate, goal) for atom in trace.predicates],
        every_step=[
            (signed(float(reward)), f"{progress:.4f}", [atom.truth_M[m] for atom in trace.predicates])
            for m, (reward, progress) in enumerate(zip(trace.reward_M, trace.progress_M, strict=True))
        ],
        data=_inert_json(data),
        script=script,
    )


def _inert_json(data: object) -> Markup:
    """JSON that cannot end the element it stands in, whatever text it holds."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _explanation(one: Explanation) -> dict[str, object]:
    causes = [[cause.heading, cause.lines] for cause in one.causes]
    return {"headline": one.headline, "tone": one.tone, "causes": causes, "sums": one.sums}


def _numbers(trace: Trace) -> list[tuple[str, str]]:
    """Captions and values of the page's large numbers."""
    done = int(trace.verdict.done_KN[:, -1].sum())
    return [
        ("return", f"{trace.reward_M.sum():.4f}"),
        (f"after {len(trace)} of at most {trace.horizon} control steps", "success" if trace.success else "no success"),
        ("best progress M", f"{trace.best_M[-1]:.4f}"),
        ("stages done at the end", f"{done} of {len(trace.spec.stages)}"),
        ("steps that paid or took back", f"{int((trace.reward_M != 0).sum())}"),
    ]


def _paid(trace: Trace, explanations: Sequence[Explanation]) -> Iterator[dict[str, Any]]:
    """The rows of the table of steps that paid."""
    for m, reward in enumerate(trace.reward_M):
        if reward:
            yield {
                "moment": m,
                "reward": signed(float(reward)),
                "direction": "up" if reward > 0 else "down",
                "total": f"{trace.reward_M[: m + 1].sum():.4f}",
                "headings": [one.heading for one in explanations[m].causes if "credit stays" not in one.heading],
            }


def _nothing(trace: Trace) -> str:
    if not trace.profile.pay:
        return "This profile pays success alone, and the episode did not succeed."
    reached, quantum = trace.best_M.max(), trace.profile.quantum
    return f"The best progress was {reached:.4f}, and the first quantum to be paid is {quantum:.4f}."


def _spec(trace: Trace, goal: Conjuncts) -> dict[str, Any]:
    """What the section about the spec shows."""
    spec = trace.spec
    profile = trace.profile.model_dump().items()
    return {
        "graph": stage_graph(spec),
        "spec_stages": [
            {
                "title": title(stage.id),
                "effort": stage.effort,
                "sentence": sentence(stage, goal),
                "rationale": stage.rationale,
            }
            for stage in spec.stages
        ],
        "rules": [maintain_sentence(rule, goal) for rule in spec.maintain],
        "profile": ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in profile
        ),
        "spec_id": spec_id(spec)[:12],
        "spec_json": spec.model_dump_json(indent=2, by_alias=True, exclude_defaults=True),
    }
