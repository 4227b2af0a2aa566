"""Decisions per second: batched decoding with a cache against the plain loop and against the roofline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.table import Measurement
from benchmarks.trainer.plain import plain_decision
from benchmarks.trainer.roofline import Roof, floor_seconds
from benchmarks.trainer.subject import random_input
from benchmarks.trainer.timing import seconds_of
from benchmarks.trainer.work import Decision, decision_phases, parallel_phases
from tgrpo_trainer.policy.openvla.decoding import parallel_logits
from tgrpo_trainer.policy.openvla.pictures import prepare_pictures
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.types import PolicyInput

COMPILED_WARMUPS = 4
"""Compiling, then two runs before a CUDA graph is recorded, then one of the graph."""
ROOFLINE_GOAL = ">= 50"
SAME_TOKENS_ROWS = 4


def decision_rows(policy: OpenVlaPolicy, batch_sizes: Sequence[int], roof: Roof, *, repeats: int) -> list[Measurement]:
    """The plain loop where tokens follow one another, then each batch size, all with the same weights."""
    if policy.settings.decoding == "parallel":
        return [row for size in batch_sizes for row in batch_rows(policy, size, None, roof, repeats=repeats)]
    alone = random_input(policy, 1)
    plain = seconds_of(lambda: plain_decision(policy, alone), policy.device, repeats=repeats)
    rows = [
        Measurement("plain loop, batch 1: a decision", 1e3 * plain, "ms"),
        Measurement("plain loop, batch 1: actions per second", 1.0 / plain, "1/s"),
        Measurement("greedy tokens equal to the plain loop's", 100.0 * same_tokens(policy), "%"),
    ]
    for batch_size in batch_sizes:
        rows += batch_rows(policy, batch_size, plain, roof, repeats=repeats)
    return rows


def batch_rows(
    policy: OpenVlaPolicy, batch_size: int, plain_s: float | None, roof: Roof, *, repeats: int
) -> list[Measurement]:
    """One batch size: each phase, the whole decision, and what that is against the plain loop."""
    policy.decoder.release()  # a compiled step computes all rows of the largest decision so far
    obs = random_input(policy, batch_size)
    warmups = COMPILED_WARMUPS if policy.settings.compile else 1
    phases = parallel_phases if policy.settings.decoding == "parallel" else decision_phases
    work = phases(policy.model.architecture, decision_of(policy, obs))
    name = f"batch {batch_size}"
    rows = [
        Measurement(f"{name}: {phase}", 1e3 * seconds, "ms", floor=1e3 * roof.seconds(work[phase]))
        for phase, seconds in phase_seconds(policy, obs, repeats=repeats, warmups=warmups).items()
    ]
    generator = torch.Generator(policy.device).manual_seed(0)
    whole = seconds_of(lambda: policy.sample(obs, generator=generator), policy.device, repeats=repeats, warmups=warmups)
    floor = floor_seconds(roof, work.values())
    return [
        *rows,
        Measurement(f"{name}: a decision of all rows", 1e3 * whole, "ms", floor=1e3 * floor),
        Measurement(f"{name}: actions per second", batch_size * policy.action_chunk / whole, "1/s"),
        *(
            []
            if plain_s is None
            else [Measurement(f"{name}: against the plain loop", batch_size * plain_s / whole, "x")]
        ),
        Measurement(f"{name}: share of the roofline", 100.0 * floor / whole, "%", ROOFLINE_GOAL),
        Measurement(f"{name}: drawn against scored, largest |ratio - 1|", largest_ratio_gap(policy, obs), ""),
    ]


def decision_of(policy: OpenVlaPolicy, obs: PolicyInput) -> Decision:
    """The size of a decision on some input."""
    rows, prompt = obs.instruction_NL.shape
    places = prompt + policy.model.architecture.towers[0].num_patches
    size = next(policy.parameters()).element_size()
    return Decision(rows, places, policy.tokens_per_decision, policy.image_size, size)


@torch.no_grad()
def phase_seconds(policy: OpenVlaPolicy, obs: PolicyInput, *, repeats: int, warmups: int) -> dict[str, float]:
    """Seconds of each phase of a greedy decision, in order, each alone between two waits for the device."""
    model, num_tokens = policy.model, policy.tokens_per_decision

    def see_pictures() -> Tensor:
        return prepare_pictures(
            obs.agentview_NHWC, policy.towers, size=model.image_size, center_crop=policy.settings.center_crop
        )

    def draw_next(logits_NV: Tensor) -> Tensor:
        return model.embed(policy.codec.token_ids(logits_NV.argmax(-1)))

    pixels_NCHW = see_pictures()
    prefix = model.prefix(pixels_NCHW, obs.instruction_NL)
    phases: dict[str, Callable[[], object]] = {
        "pictures": see_pictures,
        "vision": lambda: model.prefix(pixels_NCHW, obs.instruction_NL),
    }
    if policy.settings.decoding == "parallel":
        phases["all places at once"] = lambda: parallel_logits(model, prefix, num_tokens)
    else:
        started = policy.decoder.start(model, prefix, num_tokens)
        phases["prefill"] = lambda: policy.decoder.start(model, prefix, num_tokens)
        phases["decode"] = lambda: policy.decoder.finish(model, started, draw_next)
    return {name: seconds_of(phase, policy.device, repeats=repeats, warmups=warmups) for name, phase in phases.items()}


@torch.no_grad()
def largest_ratio_gap(policy: OpenVlaPolicy, obs: PolicyInput) -> float:
    """How far a token's probability when drawn is from that of the pass that learns; 0 in exact arithmetic."""
    drawn = policy.sample(obs, generator=torch.Generator(policy.device).manual_seed(0))
    scored = policy.log_prob(obs, drawn.choices_NK)
    return float((scored.logp_NK - drawn.logp_NK).expm1().abs().max())


def same_tokens(policy: OpenVlaPolicy) -> float:
    """Share of tokens the two ways agree on, greedily, over a few rows; in 16 bits near ties may fall either way."""
    obs = random_input(policy, SAME_TOKENS_ROWS)
    batched_NK = policy.sample(obs, greedy=True).choices_NK.cpu()
    plain_NK = torch.tensor([plain_decision(policy, obs.rows(slice(i, i + 1))) for i in range(len(obs))])
    return float((batched_NK == plain_NK).double().mean())
