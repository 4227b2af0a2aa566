"""Rollouts: a policy plays N environments in lock-step, and members that share a start state become groups.

At each decision only the members that still run are shown to the policy; a member that has ended is frozen by the
environment. `end="any_success"` is the paper's rule (all members of a group stop as soon as one succeeds, at the same
decision); `end="each"` lets every member finish.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tgrpo_envs.errors import TrainingError
from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.rollout.environment import Info, Members, Observation, TaskFacts, facts_of_members
from tgrpo_trainer.run.console import say
from tgrpo_trainer.types import ACTION_DIM, ActionSample, EpisodeEnd, PolicyInput, Trajectory, TrajectoryGroup

EndRule = Literal["each", "any_success"]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
_ALONE = nullcontext()


@dataclass(frozen=True)
class Sampling:
    """How actions are drawn."""

    temperature: float = 1.0
    """Divides the logarithm of the probability."""
    greedy: bool = False
    """Take the most probable choice."""
    generators: Sequence[torch.Generator] | None = None
    """One for each member, on the policy's device: what a member does depends on its own only. None = torch's own."""


@dataclass(frozen=True)
class Rollout:
    """What one environment did: the trajectory to learn from, and what evaluation and the report need beside it."""

    trajectory: Trajectory
    actions_TCA: Tensor
    """float32, the action chunk sent at each decision."""
    stages_TK: Tensor
    """bool, stages of the task's reward that were done after each decision."""
    task: TaskFacts
    """What it was to do."""


Group = tuple[Rollout, ...]
"""Members that started from one state of one task."""


@dataclass(frozen=True)
class RolloutResult:
    """N members played to their end, and where the time went."""

    members: tuple[Rollout, ...]
    env_s: float
    """Seconds in the environment: physics, pictures, rewards."""
    policy_s: float
    """Seconds choosing actions."""


class _Record:
    """Rows of all decisions so far: one tensor for each field, with room for as many again.

    Tensors of each decision, small ones between the large ones that are freed, would leave holes in the memory that the
    next decision's pictures do not fit into.
    """

    def __init__(self) -> None:
        self._room: dict[str, Tensor] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, **decision: Tensor) -> None:
        """Keep one lock-step decision of the members that were live, a row of every field for each."""
        begin, self._count = self._count, self._count + len(decision["member"])
        for name, rows in decision.items():
            room = self._room.get(name, rows[:0])
            if len(room) < self._count:
                wider = rows.new_empty((2 * self._count, *rows.shape[1:]))
                wider[:begin] = room[:begin]
                self._room[name] = room = wider
            room[begin : self._count] = rows

    def __getitem__(self, name: str) -> Tensor:
        return self._room[name][: self._count]


class _EpisodeState:
    """Which members still run, and what is known of each; a member's row does not change after its end."""

    def __init__(self, num_members: int) -> None:
        self.ends: list[EpisodeEnd | None] = [None] * num_members
        self.stage_N: IntArray = np.zeros(num_members, dtype=np.int64)
        self.control_steps_N: IntArray = np.zeros(num_members, dtype=np.int64)
        self.progress_N = np.zeros(num_members)

    @property
    def live(self) -> IntArray:
        return np.flatnonzero([end is None for end in self.ends])

    def advance(self, live: IntArray, truncated_N: BoolArray, info: Info) -> IntArray:
        """Take in what a step reported of the live members; returns the control steps each of them ran."""
        ran_n: IntArray = info["control_steps"][live] - self.control_steps_N[live]
        self.control_steps_N[live] = info["control_steps"][live]
        self.stage_N[live] = info["stage"][live]
        self.progress_N[live] = np.maximum(self.progress_N[live], info["progress"][live])
        for i in live:
            if info["diverged"][i]:
                self.ends[i] = EpisodeEnd.DIVERGED
            elif info["success"][i]:
                self.ends[i] = EpisodeEnd.SUCCESS
            elif truncated_N[i]:
                self.ends[i] = EpisodeEnd.HORIZON
        return ran_n

    def cut_groups(self, group_size: int) -> None:
        """End the running members of every group in which one has succeeded."""
        for start in range(0, len(self.ends), group_size):
            group = slice(start, start + group_size)
            if EpisodeEnd.SUCCESS in self.ends[group]:
                self.ends[group] = [end or EpisodeEnd.GROUP_CUT for end in self.ends[group]]


def play(
    policy: Policy,
    envs: Members,
    observation: Observation,
    sampling: Sampling,
    *,
    cut_group_size: int = 1,
    num_played: int | None = None,
    keep_pictures: bool = True,
    turn: AbstractContextManager[object] = _ALONE,
) -> RolloutResult:
    """Play members from a fresh reset to their end.

    Args:
        policy: Switched to evaluation mode.
        envs: Just reset; `play` never resets.
        observation: What the reset returned.
        sampling: How actions are drawn.
        cut_group_size: Consecutive members that end together when one of them succeeds; 1 = each on its own.
        num_played: Play the first so many, where the others have ended before and were not reset; None plays all.
        keep_pictures: Whether the trajectories hold what the policy saw, to learn from. Without, their pictures have no
            pixels: whole episodes of many members can fill the memory.
        turn: Held while the policy decides, where others play at the same time.

    Raises:
        TrainingError: The policy gives a choice a log-probability that is no finite number.
    """
    policy.eval()
    chunk = policy.action_chunk
    tasks_N = facts_of_members(envs)
    instruction_NL = policy.encode_instructions([task.instruction for task in tasks_N]).cpu()
    running = _EpisodeState(envs.num_envs if num_played is None else num_played)
    record = _Record()
    env_s = policy_s = 0.0
    while len(live := running.live):
        seen = PolicyInput.from_observation(
            {key: rows[live] for key, rows in observation.items()}, instruction_NL[live]
        )
        with turn:
            deciding = time.perf_counter()
            sample = _choose(policy, seen, sampling, live)
            policy_s += time.perf_counter() - deciding
        if not len(record) and (doubt := policy.inspect(seen, sample.choices_NK)) is not None:
            say(f"Warning: {doubt}")
        actions_NCA = np.zeros((envs.num_envs, chunk, ACTION_DIM), dtype=np.float32)
        actions_NCA[live] = sample.actions_NCA.numpy()
        chosen = time.perf_counter()
        observation, rewards_N, _, truncated_N, info = envs.step(actions_NCA if chunk > 1 else actions_NCA[:, 0])
        env_s += time.perf_counter() - chosen
        stage_n = running.stage_N[live]
        ran_n = running.advance(live, truncated_N, info)
        running.cut_groups(cut_group_size)
        record.add(
            **vars(seen if keep_pictures else _without_pictures(seen)),
            member=torch.from_numpy(live),
            choices=sample.choices_NK,
            logp=sample.logp_NK,
            executed=policy.counted(control_steps_run(ran_n, chunk)),
            actions=sample.actions_NCA,
            rewards=torch.tensor(rewards_N[live], dtype=torch.float64),
            stage=torch.from_numpy(stage_n),
            stages=torch.tensor(info["stages"][live], dtype=torch.bool),
            kept=torch.tensor(~info["diverged"][live], dtype=torch.bool),
        )
    return RolloutResult(_members(record, running, tasks_N), env_s, policy_s)


def collect_groups(
    policy: Policy,
    envs: Members,
    sampling: Sampling,
    *,
    seeds: Sequence[int],
    num_generations: int,
    end: EndRule,
    turn: AbstractContextManager[object] = _ALONE,
) -> tuple[tuple[Group, ...], RolloutResult]:
    """Draw one training state per group and play all groups.

    Args:
        policy: Plays.
        envs: B * G members; those of a group pose one task.
        sampling: How actions are drawn.
        seeds: One per member; the first member of a group draws its state.
        num_generations: G.
        end: When a group's members stop.
        turn: See `play`.

    Returns:
        B groups of G members each in the order of the environment, and everything that was played.

    Raises:
        TrainingError: See `play`.
    """
    started = time.perf_counter()
    observation, _ = envs.reset(seed=list(seeds), options={"init_states": "train", "group_size": num_generations})
    reset_s = time.perf_counter() - started
    cut = num_generations if end == "any_success" else 1
    played = play(policy, envs, observation, sampling, cut_group_size=cut, turn=turn)
    played = replace(played, env_s=played.env_s + reset_s)
    starts = range(0, envs.num_envs, num_generations)
    return tuple(played.members[start : start + num_generations] for start in starts), played


def trainable_groups(groups: Sequence[Group]) -> list[TrajectoryGroup]:
    """The groups as the update wants them: members without a decision left out, groups of one dropped.

    Only a simulator that diverges during a member's first decision leaves it without one.
    """
    decided = [[member for member in group if len(member.trajectory)] for group in groups]
    return [
        TrajectoryGroup(tuple(member.trajectory for member in group), group[0].task.instruction)
        for group in decided
        if len(group) >= 2
    ]


def control_steps_run(ran_N: IntArray, chunk: int) -> Tensor:
    """Which control steps of a decision ran, given how many did: (N,) -> (N, C) bool."""
    return torch.arange(chunk) < torch.from_numpy(ran_N)[:, None]


def _choose(policy: Policy, seen: PolicyInput, sampling: Sampling, live: IntArray) -> ActionSample:
    """Ask the policy, and bring its answer to the CPU, where the environment and the record are."""
    sample = policy.sample(
        seen.to(policy.device),
        temperature=sampling.temperature,
        greedy=sampling.greedy,
        generator=sampling.generators and [sampling.generators[i] for i in live],
    )
    if not sample.logp_NK.isfinite().all():
        raise TrainingError(
            "The policy gives its choices log-probabilities that are NaN or infinite, so what it plays means nothing; "
            "to train on, take the latest checkpoints out of the run's folder last, and --resume the run with a lower "
            "--update.learning-rate."
        )
    return ActionSample(sample.choices_NK.cpu(), sample.logp_NK.cpu(), sample.actions_NCA.cpu())


def _without_pictures(seen: PolicyInput) -> PolicyInput:
    """The same rows, their pictures without pixels."""
    no_pixels_NHWC = seen.agentview_NHWC.new_zeros((len(seen), 0, 0, 3))
    return replace(seen, agentview_NHWC=no_pixels_NHWC, wrist_NHWC=no_pixels_NHWC)


def _members(record: _Record, running: _EpisodeState, tasks_N: Sequence[TaskFacts]) -> tuple[Rollout, ...]:
    """Sort the rows of all decisions by member; within a member they stay in time order."""
    observations = PolicyInput(**{field.name: record[field.name] for field in fields(PolicyInput)})
    choices, logp, executed, actions, rewards, stage, stages = (
        record[name] for name in ("choices", "logp", "executed", "actions", "rewards", "stage", "stages")
    )
    members = []
    for i, (end, task) in enumerate(zip(running.ends, tasks_N, strict=False)):  # the last ones may not be played
        assert end is not None
        rows = torch.nonzero((record["member"] == i) & record["kept"])[:, 0]
        trajectory = Trajectory(
            observations=observations.rows(rows),
            choices_TK=choices[rows],
            logp_TK=logp[rows],
            executed_TK=executed[rows],
            rewards_T=rewards[rows],
            stage_T=stage[rows],
            end=end,
            progress=float(running.progress_N[i]),
            control_steps=int(running.control_steps_N[i]),
        )
        own_stages_TK = stages[rows][:, : len(task.stage_names)]
        members.append(Rollout(trajectory, actions_TCA=actions[rows], stages_TK=own_stages_TK, task=task))
    return tuple(members)
