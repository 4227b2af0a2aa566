"""pi_old as drawn, or scored again by the pass that learns: the first ratio is exactly 1; how far the two are apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from tests.helpers.made_up import build_batch, make_group, tiny_nano
from tests.helpers.tiny_openvla import openvla_input, tiny_openvla
from tgrpo_trainer.config import UpdateConfig
from tgrpo_trainer.objectives import Tgrpo
from tgrpo_trainer.objectives.loss import sampling_gap
from tgrpo_trainer.optim.update import PolicyUpdater
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.policy.lora import LoraSettings
from tgrpo_trainer.policy.nano.policy import NanoPolicy
from tgrpo_trainer.policy.openvla.base import BaseCheckpoint
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.types import Batch

OldLogp = Literal["sampled", "scored"]
NUM_ROWS = 9
TEMPERATURE = 1.3


def nano_case(_folder: Path | None) -> tuple[NanoPolicy, Batch]:
    policy = tiny_nano()
    batch, _ = build_batch([make_group(policy, [[0.0, 0.5, 1.0], [0.25, 0.0], [1.0, 1.0, 0.5, 0.0]])], Tgrpo())
    assert batch is not None
    return policy, batch


def openvla_case(folder: Path, *, lora: bool = False, **settings: Any) -> tuple[OpenVlaPolicy, Batch]:
    policy = tiny_openvla(folder, **settings).to(torch.bfloat16)
    if lora:
        policy.adapt(LoraSettings(rank=4), BaseCheckpoint.of(str(folder), "bfloat16"), seed=0)
    obs = openvla_input(policy, ["reach the middle", "pick up the red bowl", "reach"] * (NUM_ROWS // 3))
    sample = policy.sample(obs, temperature=TEMPERATURE, generator=torch.Generator().manual_seed(0))
    batch = Batch(
        observations=obs,
        choices_NK=sample.choices_NK,
        old_logp_NK=sample.logp_NK,
        mask_NK=torch.ones_like(sample.choices_NK, dtype=torch.bool),
        advantages_N=torch.linspace(-1, 1, NUM_ROWS),
        weights_N=torch.full((NUM_ROWS,), 1 / NUM_ROWS, dtype=torch.float64),
    )
    return policy, batch


CASES: dict[str, Callable[[Path], tuple[Policy, Batch]]] = {
    "nano": nano_case,
    "openvla": openvla_case,
    "checkpointed": lambda folder: openvla_case(folder, gradient_checkpointing=True),
    "lora": lambda folder: openvla_case(folder, lora=True),
    "parallel": lambda folder: openvla_case(folder, decoding="parallel", action_chunk=2),
}


def learn(policy: Policy, batch: Batch, old_logp: OldLogp, **optimiser: Any) -> dict[str, float]:
    policy.train()
    updater = PolicyUpdater(
        policy,
        None,
        objective=Tgrpo(beta=0.0, old_logp=old_logp),
        optimiser=UpdateConfig(**{"warmup_iterations": 0, "num_iterations": 1, **optimiser}),
        temperature=TEMPERATURE,
        total_iterations=10,
        microbatch_size=optimiser.get("microbatch_size"),
    )
    return updater.update(batch, 0, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("microbatch_size", [None, 4])
@pytest.mark.parametrize("name", CASES)
def test_scored_by_the_pass_that_learns_the_first_ratio_is_exactly_1(
    tmp_path: Path, name: str, microbatch_size: int | None
) -> None:
    policy, batch = CASES[name](tmp_path)
    metrics = learn(policy, batch, "scored", microbatch_size=microbatch_size)
    assert metrics["ratio_max"] == 1.0 and metrics["approx_kl"] == 0.0
    assert metrics["grad_norm"] > 0.0


def test_later_minibatches_are_compared_with_the_policy_before_the_first_step() -> None:
    policy, batch = nano_case(None)
    steps, first_rows = (
        {"minibatch_size": 5, "learning_rate": 1e-2},
        torch.randperm(9, generator=torch.Generator().manual_seed(0))[:5],
    )
    policy.train()
    scored = policy.log_prob(batch.observations, batch.choices_NK, TEMPERATURE).logp_NK.detach()
    metrics = learn(policy, batch, "scored", **steps)
    again, _ = nano_case(None)
    learn(again, batch.rows(first_rows), "scored", learning_rate=1e-2)
    others = torch.tensor([row for row in range(9) if row not in first_rows.tolist()])
    learnt = again.log_prob(batch.observations, batch.choices_NK, TEMPERATURE).logp_NK.detach()
    ratio = (learnt - scored).exp()[others]
    assert metrics["optimiser_steps"] == 2
    assert metrics["ratio_max"] == pytest.approx(float(ratio.max()), rel=1e-4) and metrics["ratio_max"] > 1.01


def test_drawn_at_another_temperature_the_gap_is_logged_whichever_is_learnt_with() -> None:
    gaps: dict[OldLogp, list[float]] = {}
    kinds: tuple[OldLogp, ...] = ("sampled", "scored")
    for old_logp in kinds:
        policy, batch = nano_case(None)  # drawn at temperature 1, scored at 1.3
        scored = policy.log_prob(batch.observations, batch.choices_NK, TEMPERATURE).logp_NK.detach()
        difference = scored - batch.old_logp_NK
        metrics = learn(policy, batch, old_logp)
        gaps[old_logp] = [metrics[f"sampling_{key}"] for key in ("logp_gap", "ratio_min", "ratio_max")]
        weighted = float((difference.abs().mean(1) * batch.weights_N).sum())
        expected = [weighted, float(difference.exp().min()), float(difference.exp().max())]
        assert gaps[old_logp] == pytest.approx(expected, rel=1e-4)
    assert gaps["sampled"] == gaps["scored"]


def test_in_bfloat16_drawing_and_learning_differ(tmp_path: Path) -> None:
    policy, batch = openvla_case(tmp_path)
    metrics = learn(policy, batch, "sampled", microbatch_size=4)
    assert 0 < metrics["sampling_logp_gap"] < 0.05
    assert 0.8 < metrics["sampling_ratio_min"] < 1 < metrics["sampling_ratio_max"] == metrics["ratio_max"] < 1.25


def test_the_gap_of_known_numbers() -> None:
    logp = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])
    sampled = torch.tensor([[-1.5, -2.0], [-2.0, 9.0]])
    mask = torch.tensor([[True, True], [True, False]])
    gap = sampling_gap(logp, sampled, mask, torch.tensor([0.5, 0.25]), denominator=0.75)
    # Row 0: (0.5 + 0) / 2 with weight 2/3; row 1: 1 with weight 1/3.
    assert gap["sampling_logp_gap"].item() == pytest.approx(0.25 * 2 / 3 + 1 / 3)
    assert gap["sampling_ratio_min"].item() == pytest.approx(math.exp(-1.0))
    assert gap["sampling_ratio_max"].item() == pytest.approx(math.exp(0.5))
    none = sampling_gap(logp, sampled, torch.zeros_like(mask), torch.zeros(2), denominator=0.75)
    assert [value.item() for value in none.values()] == [0.0, math.inf, 0.0]
