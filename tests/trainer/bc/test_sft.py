"""Behaviour cloning learns what it is shown, ignores padding, and is repeatable."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from tests.helpers.made_up import IMAGE_SIZE, flat_parameters, random_input, tiny_nano
from tgrpo_envs.errors import TrainingError
from tgrpo_trainer.bc.behaviour_cloning import MAX_SHIFT_PIXELS, OnStep, cloning_optimizer, random_shift, train_sft
from tgrpo_trainer.bc.dataset import DemoDataset
from tgrpo_trainer.config import SftConfig
from tgrpo_trainer.optim.optimizer import StochasticAdam
from tgrpo_trainer.policy.nano.policy import NanoPolicy
from tgrpo_trainer.types import PolicyInput

CHUNK = 2


def made_up_demonstrations(num_rows: int = 32) -> DemoDataset:
    seen = random_input(num_rows)
    levels = torch.randint(0, 5, (num_rows, CHUNK, 7), generator=torch.Generator().manual_seed(1))
    return DemoDataset(
        agentview_MHWC=seen.agentview_NHWC,
        wrist_MHWC=seen.wrist_NHWC,
        proprio_MP=seen.proprio_NP,
        actions_MCA=levels / 2 - 1,
        valid_MC=torch.ones(num_rows, CHUNK, dtype=torch.bool),
        task_M=torch.zeros(num_rows, dtype=torch.int64),
        instructions=("pick up the soup",),
    )


def clone(
    dataset: DemoDataset, *, steps: int, seed: int = 0, on_step: OnStep | None = None
) -> tuple[NanoPolicy, dict[str, float]]:
    policy = tiny_nano(action_chunk=CHUNK)
    metrics = train_sft(
        policy,
        dataset,
        config=SftConfig(max_steps=steps, batch_size=32, learning_rate=3e-3),
        generator=torch.Generator().manual_seed(seed),
        on_step=on_step,
    )
    return policy, metrics


def test_nano_learns_32_decisions_by_heart() -> None:
    dataset = made_up_demonstrations()
    history = []
    policy, metrics = clone(dataset, steps=150, on_step=lambda step, numbers: history.append((step, numbers["loss"])))
    # A new policy knows nothing: log 5 nats for each of five values.
    assert history[0][0] == 1 and history[0][1] == pytest.approx(math.log(5), abs=0.1) and history[-1][0] == 150
    assert metrics["loss"] < 0.1 and metrics["accuracy"] > 0.98
    obs = PolicyInput(
        dataset.agentview_MHWC,
        dataset.wrist_MHWC,
        dataset.proprio_MP,
        policy.encode_instructions(dataset.instructions)[dataset.task_M],
    )
    played = policy.sample(obs, greedy=True).actions_NCA
    assert (played == dataset.actions_MCA).float().mean() > 0.98


def test_padding_teaches_nothing() -> None:
    dataset = made_up_demonstrations()
    valid_MC = torch.tensor([True, False]).expand(32, CHUNK)
    masked = dataclasses.replace(dataset, valid_MC=valid_MC)
    garbage = dataset.actions_MCA.clone()
    garbage[:, 1] = 1.0
    other = dataclasses.replace(masked, actions_MCA=garbage)
    assert torch.equal(flat_parameters(clone(masked, steps=3)[0]), flat_parameters(clone(other, steps=3)[0]))


@pytest.mark.parametrize(("num_valid", "teaches"), [(2, False), (3, True)])
def test_a_held_token_counts_where_its_first_control_step_exists(num_valid: int, teaches: bool) -> None:
    # Tokens hold for two steps: the second one's steps are 2 and 3.
    short = made_up_demonstrations()
    dataset = dataclasses.replace(
        short, actions_MCA=short.actions_MCA.repeat(1, 2, 1), valid_MC=(torch.arange(4) < num_valid).expand(32, 4)
    )
    other_MCA = dataset.actions_MCA.clone()
    other_MCA[:, 2:] = 1.0
    learnt = []
    for actions_MCA in (dataset.actions_MCA, other_MCA):
        policy = tiny_nano(action_chunk=4, steps_per_token=2)
        train_sft(
            policy,
            dataclasses.replace(dataset, actions_MCA=actions_MCA),
            config=SftConfig(max_steps=2, batch_size=32),
            generator=torch.Generator().manual_seed(0),
        )
        learnt.append(flat_parameters(policy))
    assert torch.equal(*learnt) != teaches


def test_equal_seeds_give_equal_policies() -> None:
    dataset = made_up_demonstrations()
    first, again, other = (flat_parameters(clone(dataset, steps=3, seed=seed)[0]) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_broken_input_is_refused() -> None:
    dataset = made_up_demonstrations()
    broken = dataclasses.replace(dataset, proprio_MP=torch.full_like(dataset.proprio_MP, float("nan")))
    with pytest.raises(TrainingError, match=r"loss is nan.*weights are unchanged"):
        clone(broken, steps=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_small_steps_are_kept_in_every_type(dtype: torch.dtype) -> None:
    # With a constant gradient Adam steps by the learning rate: a hundred times 1e-4 from 1.0 is 0.99. A step is a
    # fortieth of the gap between two bfloat16 numbers, and the square of the gradient below float16's smallest number.
    weight = nn.Parameter(torch.ones(1, dtype=dtype))
    optimizer = cloning_optimizer(nn.ParameterList([weight]))
    for group in optimizer.param_groups:
        group["lr"] = 1e-4
    for _ in range(100):
        weight.grad = torch.full((1,), 1e-4, dtype=dtype)
        optimizer.step()
    assert weight.item() == pytest.approx(0.99, abs=1 / 256)


def test_cloning_takes_no_master_weights_where_they_are_not_wanted() -> None:
    bfloat16 = nn.ParameterList([nn.Parameter(torch.ones(1, dtype=torch.bfloat16))])
    assert isinstance(cloning_optimizer(bfloat16, rounding_seed=0), StochasticAdam)
    assert isinstance(cloning_optimizer(nn.ParameterList([torch.ones(1, dtype=torch.float64)])), torch.optim.AdamW)


def test_random_shift_moves_each_picture_by_a_few_pixels_and_repeats_its_edge() -> None:
    images = random_input(200).agentview_NHWC
    shifted = random_shift(images, torch.Generator().manual_seed(0))
    moves = range(-MAX_SHIFT_PIXELS, MAX_SHIFT_PIXELS + 1)
    seen = set()
    for before, after in zip(images, shifted, strict=True):
        rows = {dy: (torch.arange(IMAGE_SIZE) + dy).clamp(0, IMAGE_SIZE - 1) for dy in moves}
        found = [(dy, dx) for dy in moves for dx in moves if torch.equal(before[rows[dy]][:, rows[dx]], after)]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 25
