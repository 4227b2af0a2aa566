"""Groups pad, batches select, and impossible groups are refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.helpers.made_up import make_group, make_trajectory, random_input, tiny_nano
from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.types import Batch, EpisodeEnd, PolicyInput, TrajectoryGroup


def test_a_group_pads_its_members_to_the_longest() -> None:
    group = make_group(tiny_nano(), [[1.0, 2.0, 3.0], [4.0]])
    assert group.rewards_GT.tolist() == [[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]]
    assert group.mask_GT.tolist() == [[True, True, True], [True, False, False]]
    assert group.rewards_GT.dtype == torch.float64


def test_a_group_needs_two_members_with_decisions() -> None:
    member = make_trajectory(tiny_nano(), [1.0])
    empty = dataclasses.replace(member, choices_TK=member.choices_TK[:0])
    with pytest.raises(ConfigError, match="num_generations"):
        TrajectoryGroup((member,), "task")
    with pytest.raises(ConfigError, match="no decisions"):
        TrajectoryGroup((member, empty), "task")


def test_only_success_counts_as_success() -> None:
    member = make_trajectory(tiny_nano(), [1.0, 0.5])
    assert [dataclasses.replace(member, end=end).success for end in EpisodeEnd] == [True, False, False, False]
    assert member.total_reward == 1.5


def test_policy_input_copies_what_the_environment_will_overwrite() -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    observation: dict[str, NDArray[Any]] = {
        "agentview": images,
        "wrist": images,
        "proprio": np.zeros((2, 12), np.float32),
    }
    obs = PolicyInput.from_observation(observation, torch.ones(2, 1, dtype=torch.int64))
    images[:] = 9
    assert int(obs.agentview_NHWC.max()) == 0 and int(obs.wrist_NHWC.max()) == 0


def test_policy_inputs_of_different_instruction_length_concatenate_and_select() -> None:
    short = dataclasses.replace(random_input(2, seed=1), instruction_NL=torch.tensor([[5], [6]]))
    both = PolicyInput.cat([random_input(3), short])
    assert len(both) == 5
    assert both.instruction_NL[3:].tolist() == [[5, 0, 0], [6, 0, 0]]
    assert torch.equal(both.rows(torch.tensor([4, 0])).proprio_NP[1], random_input(3).proprio_NP[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("agentview", np.zeros((2, 4, 4, 3), np.float32)),  # 0 to 1: cast to uint8 all black
        ("agentview", np.zeros((2, 3, 4, 4), np.uint8)),  # channels first
        ("wrist", np.zeros((2, 4, 4, 4), np.uint8)),  # RGBA
        ("wrist", np.zeros((4, 4, 3), np.uint8)),  # one environment's
        ("proprio", np.full((2, 12), np.nan, np.float32)),
    ],
)
def test_observations_that_would_be_shifted_or_black_are_refused(name: str, value: NDArray[Any]) -> None:
    pictures = np.zeros((2, 4, 4, 3), np.uint8)
    observation: dict[str, NDArray[Any]] = {"agentview": pictures, "wrist": pictures}
    observation |= {"proprio": np.zeros((2, 12), np.float32), name: value}
    with pytest.raises(ConfigError, match=name):
        PolicyInput.from_observation(observation, torch.ones(2, 1, dtype=torch.int64))


def test_a_batch_changes_all_its_fields_together() -> None:
    def numbers(*axes: int) -> torch.Tensor:
        return torch.arange(3 * math.prod(axes)).reshape(3, *axes)

    seen = PolicyInput(numbers(2, 2, 3), numbers(2, 2, 3), numbers(5), numbers(4))
    batch = Batch(seen, numbers(7), numbers(7).float(), numbers(7) > 3, numbers().float(), numbers().double())

    def tensors(one: Batch) -> list[torch.Tensor]:
        return [*vars(one.observations).values(), *list(vars(one).values())[1:]]

    whole = tensors(batch)
    assert len(whole) == 9
    for part, rows in ((batch.rows(slice(1, 3)), [1, 2]), (batch.part(torch.tensor([2, 0])), [2, 0])):
        assert all(torch.equal(one, each[rows]) for one, each in zip(tensors(part), whole, strict=True))
    blank = batch.part(torch.tensor([], dtype=torch.int64))
    for one, each in zip(tensors(blank), whole, strict=True):
        assert one.shape == (1, *each.shape[1:]) and one.dtype == each.dtype and not one.any()
    assert {one.device.type for one in tensors(batch.to("meta"))} == {"meta"}
