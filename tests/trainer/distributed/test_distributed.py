"""Two gloo ranks learn what one process learns: the same minibatches, gradients, updates; and all hear of errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from tests.helpers.made_up import build_batch, make_group, random_input, tiny_nano
from tests.helpers.ranks import on_ranks
from tests.helpers.runs import assert_close
from tests.helpers.tiny_openvla import openvla_input, tiny_openvla
from tests.helpers.toy_env import ToyReach
from tgrpo_envs.errors import ConfigError, RankError, TrainingError
from tgrpo_trainer.bc.behaviour_cloning import train_sft
from tgrpo_trainer.bc.dataset import DemoDataset
from tgrpo_trainer.config import SftConfig, UpdateConfig
from tgrpo_trainer.distributed.fsdp import ShardedPolicy, full_state
from tgrpo_trainer.distributed.world import World, init_world
from tgrpo_trainer.objectives import Tgrpo
from tgrpo_trainer.optim.minibatches import MinibatchSampler
from tgrpo_trainer.optim.update import PolicyUpdater
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.rollout.rollout import Sampling, play
from tgrpo_trainer.run.rng import Stream, make_generators
from tgrpo_trainer.types import EpisodeEnd, Trajectory, TrajectoryGroup

# Four groups of two: unequal lengths, and one whose members are alike and say nothing.
REWARDS = [[[0.0, 0.5, 1.0], [0.25]], [[1.0, 1.0, 0.5, 0.0], [0.0, 0.0]], [[0.5], [0.5]], [[0.0, 1.0], [0.5, 0.0, 0.0]]]
UNEVEN = [REWARDS[0], REWARDS[1], REWARDS[2], REWARDS[2]]  # a second rank has nothing to learn from


class Learnt(TypedDict):
    """What a rank has after its updates; tensors by the name of their parameter."""

    gradient: dict[str, Tensor]
    metrics: dict[str, float]
    weights: dict[str, Tensor]


def whole_gradient(policy: Policy, world: World) -> dict[str, Tensor]:
    gradients = {}
    for name, parameter in policy.named_parameters():
        if parameter.grad is not None:
            gradient = parameter.grad
            if world.size > 1:
                assert isinstance(gradient, DTensor)
                gradient = gradient.full_tensor()
            gradients[name] = gradient.clone()
    return gradients


def learn(
    world: World,
    policy: Policy,
    groups: list[TrajectoryGroup],
    *,
    iterations: int = 1,
    minibatch_size: int = 1000,
    microbatch_size: int | None = None,
    plain: bool = False,
    old_logp: Literal["sampled", "scored"] = "sampled",
) -> Learnt:
    """Gradient of the last step, metrics and weights after some updates on this rank's part of the groups.

    Adam divides by the gradient's size, so a gradient that is zero but for rounding (an attention's key bias) becomes a
    step of any sign: `plain` takes gradient descent instead.
    """
    student = ShardedPolicy(policy, world)
    updater = PolicyUpdater(
        student.policy,
        None,
        objective=Tgrpo(beta=0.0, old_logp=old_logp),
        optimiser=UpdateConfig(
            num_iterations=1,
            minibatch_size=minibatch_size,
            learning_rate=1e-2 if plain else 1e-4,
            warmup_iterations=0,
            max_grad_norm=1e9,
        ),
        temperature=1.0,
        total_iterations=10,
        microbatch_size=microbatch_size,
        world=world,
    )
    if plain:
        updater.optimizer = torch.optim.SGD(student.policy.parameters())
    for i in range(iterations):
        batch, metrics = build_batch(world.own(groups), Tgrpo(), world=world, like=groups[0].trajectories[0])
        assert batch is not None
        student.policy.train()
        metrics |= updater.update(batch, i, torch.Generator().manual_seed(i))
    return {
        "gradient": whole_gradient(student.policy, world),
        "metrics": metrics,
        "weights": full_state(student.policy, world),
    }


def nano_case(world: World, rewards: list[list[list[float]]], **kwargs: Any) -> Learnt:
    policy = tiny_nano()
    return learn(world, policy, [make_group(policy, each, seed=i) for i, each in enumerate(rewards)], **kwargs)


def openvla_case(world: World, folder: Path, **kwargs: Any) -> Learnt:
    policy = tiny_openvla(folder / f"published_{world.rank}", gradient_checkpointing=True)
    groups = []
    for i, rewards in enumerate(REWARDS):
        members = []
        for j, row in enumerate(rewards):
            obs = openvla_input(
                policy, ["reach the middle", "pick up the red bowl", "reach"][: len(row)], seed=9 * i + j
            )
            obs = obs.rows(torch.arange(len(row)) % len(obs))
            sample = policy.sample(obs, generator=torch.Generator().manual_seed(i + j))
            executed = torch.ones_like(sample.choices_NK, dtype=torch.bool)
            stage = torch.zeros(len(row), dtype=torch.int64)
            reward = torch.tensor(row, dtype=torch.float64)
            members.append(
                Trajectory(
                    obs, sample.choices_NK, sample.logp_NK, executed, reward, stage, EpisodeEnd.HORIZON, 0.0, len(row)
                )
            )
        groups.append(TrajectoryGroup(tuple(members), "made-up"))
    return learn(world, policy, groups, **kwargs)


def several_cases(world: World, folder: Path) -> dict[str, Learnt]:
    """All that two ranks are asked to learn, in one start of them."""
    return {
        "one step": nano_case(world, REWARDS),
        "a rank without rows": nano_case(world, UNEVEN, microbatch_size=3),
        "three updates": nano_case(world, REWARDS, iterations=3, minibatch_size=5, microbatch_size=2),
        "openvla": openvla_case(world, folder, iterations=3, minibatch_size=5, microbatch_size=2, plain=True),
        "scored": nano_case(world, UNEVEN, microbatch_size=3, old_logp="scored"),
        "openvla scored": openvla_case(world, folder, microbatch_size=2, plain=True, old_logp="scored"),
        "cloning": clone_case(world),
    }


def clone_case(world: World) -> Learnt:
    policy = tiny_nano()
    obs = random_input(6)
    actions_MCA = torch.rand(6, 1, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    valid_MC = torch.ones(6, 1, dtype=torch.bool)
    task_M, words = torch.tensor([0, 1] * 3), ("reach", "reach the right side")
    dataset = DemoDataset(obs.agentview_NHWC, obs.wrist_NHWC, obs.proprio_NP, actions_MCA, valid_MC, task_M, words)
    student = ShardedPolicy(policy, world)
    measured = train_sft(
        student.policy,
        dataset,
        config=SftConfig(max_steps=3, batch_size=5, learning_rate=1e-4),
        generator=torch.Generator().manual_seed(0),
        world=world,
    )
    return {"gradient": {}, "metrics": measured, "weights": full_state(student.policy, world)}


def test_two_ranks_learn_what_one_process_learns(tmp_path: Path) -> None:
    got, other = on_ranks(several_cases, tmp_path, folder=tmp_path)
    expected = several_cases(World(), tmp_path / "alone")
    for name, case in expected.items():
        assert_close(got[name]["gradient"], case["gradient"])
        assert_close(got[name]["weights"], case["weights"])
        assert got[name]["metrics"] == pytest.approx(case["metrics"], rel=1e-4, abs=1e-5), name
        assert other[name]["metrics"] == got[name]["metrics"] and other[name]["weights"] == {}
    assert got["one step"]["metrics"]["groups/zero_advantage"] == 0.25
    assert got["scored"]["metrics"]["ratio_max"] == got["openvla scored"]["metrics"]["ratio_max"] == 1.0


def test_shares_are_the_same_minibatches_for_any_number_of_ranks() -> None:
    policy = tiny_nano()
    batch, _ = build_batch([make_group(policy, each, seed=i) for i, each in enumerate(REWARDS)], Tgrpo())
    assert batch is not None
    alone = MinibatchSampler.of(batch, World())
    whole = list(alone.minibatches(4, 100, torch.Generator().manual_seed(0)))
    cuts = (0, 1, 1, len(batch))  # three ranks: one row, none, all others
    seen = []
    for rank in range(3):
        shares = MinibatchSampler(rank, cuts, alone.weights_M)
        seen.append(list(shares.minibatches(4, 2, torch.Generator().manual_seed(0))))
    for i, minibatch in enumerate(whole):
        rows = [part + cuts[rank] for rank in range(3) for part in seen[rank][i].parts]
        assert sorted(torch.cat(rows).tolist()) == sorted(minibatch.parts[0].tolist())
        assert {len(seen[rank][i].parts) for rank in range(3)} == {2}  # all make the passes of the busiest
        assert {seen[rank][i].denominator for rank in range(3)} == {minibatch.denominator}


def play_whole(world: World) -> dict[str, Any]:
    """Rank 1's episodes end long before rank 0's, and it goes on to play again alone."""
    policy = tiny_nano(action_chunk=2)
    expected = policy.sample(random_input(3), greedy=True).choices_NK
    student = ShardedPolicy(policy, world)
    with student.gathered() as player:
        assert torch.equal(player.sample(random_input(3), greedy=True).choices_NK, expected)
        lengths = []
        for _ in range(1 + 2 * world.rank):
            envs = ToyReach(2, horizon=2 if world.rank else 24)
            observation, _ = envs.reset(seed=[0, 1], options={"group_size": 2})
            generators = make_generators(0, Stream.ACTIONS, count=2)
            played = play(player, envs, observation, Sampling(generators=generators))
            lengths += [len(member.trajectory) for member in played.members]
    kept = sum(parameter.numel() for parameter in player.parameters())
    shards = [parameter.to_local() for parameter in student.policy.parameters() if isinstance(parameter, DTensor)]
    return {"lengths": lengths, "kept": kept, "shards": sum(shard.numel() for shard in shards)}


def test_ranks_play_as_long_as_they_like_and_hold_the_whole_only_meanwhile(tmp_path: Path) -> None:
    first, second = on_ranks(play_whole, folder=tmp_path)
    assert max(first["lengths"]) > 1 and second["lengths"] == [1] * 6
    assert first["kept"] == second["kept"] == 0
    assert first["shards"] + second["shards"] == sum(p.numel() for p in tiny_nano(action_chunk=2).parameters())


def fail_on_one(world: World) -> list[Any]:
    """What each rank hears when rank 1 fails: inside a phase, at a gathering in it, and in an update."""
    heard: list[Any] = []
    try:
        with world.together():
            if world.rank == 1:
                raise ConfigError("this rank has a bad day")
            world.gather("waiting")
    except (ConfigError, RankError) as error:
        heard.append(f"{type(error).__name__}: {error}")
    heard.append(world.gather(world.rank))
    policy = tiny_nano()
    groups = [make_group(policy, each, seed=i) for i, each in enumerate(REWARDS[:2])]
    if world.rank == 1:
        groups[1].trajectories[0].logp_TK[0] = float("nan")
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    try:
        learn(world, policy, groups)
    except TrainingError as error:
        heard.append(str(error))
    after = full_state(policy, world)
    heard.append(all(torch.equal(after[name], before[name]) for name in after))
    return heard


def test_an_error_of_one_rank_is_heard_by_all(tmp_path: Path) -> None:
    first, second = on_ranks(fail_on_one, folder=tmp_path)
    assert first[0] == "RankError: Stopped because of rank 1: this rank has a bad day"
    assert second[0] == "ConfigError: this rank has a bad day"
    assert first[1] == second[1] == [0, 1]  # and the ranks still understand each other
    assert first[2] == second[2] and "loss is nan" in first[2] and first[3] is True


def test_what_ranks_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="3 cannot be spread evenly over 2"):
        World(rank=0, size=2).own([1, 2, 3])
    assert World(rank=1, size=2).own([1, 2, 3, 4]) == [3, 4]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="each of 2 ranks needs its own"):
        init_world("cpu:1", timeout_minutes=1)
    with pytest.raises(ConfigError, match="cuda:77"):
        init_world("cuda:77", timeout_minutes=1)
