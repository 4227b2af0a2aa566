"""Plays parts of an iteration's groups at the same time: while one part decides, the others' environments step."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import accumulate
from threading import Lock

from tgrpo_trainer.policy.base import Policy
from tgrpo_trainer.rollout.environment import Members
from tgrpo_trainer.rollout.rollout import EndRule, Group, RolloutResult, Sampling, collect_groups


def collect_side_by_side(
    policy: Policy,
    parts: Sequence[Members],
    sampling: Sampling,
    *,
    seeds: Sequence[int],
    num_generations: int,
    end: EndRule,
) -> tuple[tuple[Group, ...], RolloutResult]:
    """Collect the groups of several environments as `collect_groups` does those of one.

    A thread for each part, one of which uses the policy at a time. A member plays what it would play alone, up to the
    rounding of a policy that decides for fewer members at once.

    Args:
        policy: Plays.
        parts: Environments of whole groups.
        sampling: How actions are drawn, with a generator for each member of all parts.
        seeds: One for each member of all parts.
        num_generations: Members of a group.
        end: When a group's members stop.

    Returns:
        The groups of all parts in order, and everything that was played. Its seconds are summed over the parts, so they
        may exceed the time that passed.
    """
    if len(parts) == 1:
        return collect_groups(policy, parts[0], sampling, seeds=seeds, num_generations=num_generations, end=end)
    turn, ends = Lock(), accumulate(part.num_envs for part in parts)
    with ThreadPoolExecutor(len(parts)) as pool:
        futures = [
            pool.submit(
                collect_groups,
                policy,
                part,
                replace(sampling, generators=sampling.generators and sampling.generators[last - part.num_envs : last]),
                seeds=seeds[last - part.num_envs : last],
                num_generations=num_generations,
                end=end,
                turn=turn,
            )
            for part, last in zip(parts, ends, strict=True)
        ]
    collected = [future.result() for future in futures]
    played = [result for _, result in collected]
    return (
        tuple(group for groups, _ in collected for group in groups),
        RolloutResult(
            members=tuple(member for result in played for member in result.members),
            env_s=sum(result.env_s for result in played),
            policy_s=sum(result.policy_s for result in played),
        ),
    )
