"""Play an outside policy from given states of one task, many side by side: whoever ends makes room for the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.bridges.libero import state
from tgrpo_envs.bridges.policy import ACTION_SIZE, OutsidePolicy, Seen
from tgrpo_envs.evaluate.record import End, EpisodeRecord
from tgrpo_envs.sim.snapshot import FloatArray
from tgrpo_envs.vector import LiberoVectorEnv


@dataclass(frozen=True)
class Finished:
    """An episode that is over.

    Attributes:
        record: What came of it.
        actions_SA: The actions of its control steps, from which it can be played again.
        settings: Keyword arguments of the environment it was played in, without the policy's.
    """

    record: EpisodeRecord
    actions_SA: FloatArray
    settings: dict[str, Any]


@dataclass
class _Seat:
    """An episode that one member of the environment plays."""

    number: int
    state: int
    actions: list[FloatArray] = field(default_factory=list)
    stages_K: NDArray[np.bool_] | None = None


def play_states(
    policy: OutsidePolicy,
    settings: dict[str, Any],
    states: str,
    state_ids: Sequence[int],
    *,
    num_envs: int,
    first_number: int,
    finished: Callable[[Finished], None],
) -> None:
    """Play one episode from each of the given states of a task, and hand each over when it is over.

    Args:
        policy: Plays.
        settings: Keyword arguments of the environment: suite, task, bddl, assets, detail, horizon, perturb.
        states: ``heldout`` or ``official``.
        state_ids: Rows of that set.
        num_envs: Episodes side by side, at most.
        first_number: What the episode from the set's first row is called; the others follow as the rows do, so a row
            has the same number whichever others are played.
        finished: Takes each episode when it is over, in the order of their ends.

    Raises:
        PolicyError: The policy failed; what was handed over before stays finished.
    """
    waiting = deque(_Seat(first_number + row, row) for row in state_ids)
    width = min(num_envs, len(waiting))
    env = LiberoVectorEnv(
        num_envs=width,
        image_size=policy.image_size,
        action_chunk=policy.replan_steps,
        autoreset_mode="Disabled",
        copy=False,
        **settings,
    )
    seats: list[_Seat | None] = [None] * width
    with closing(env):
        while True:
            _fill(env, seats, waiting, states)
            live = [row for row, seat in enumerate(seats) if seat is not None]
            if not live:
                return
            ended: list[_Seat] = []
            for row, end in _decide(policy, env, seats, live):
                seat = seats[row]
                assert seat is not None
                seats[row] = None
                ended.append(seat)
                record = _record(env, seat, row, states, end)
                finished(Finished(record, np.array(seat.actions), settings))
            for seat in ended:  # after all are kept: a server may be gone by now
                policy.end(seat.number)


def _fill(env: LiberoVectorEnv, seats: list[_Seat | None], waiting: deque[_Seat], states: str) -> None:
    """Begin waiting episodes in the members that have none."""
    begun_N = np.zeros(len(seats), dtype=bool)
    for row, seat in enumerate(seats):
        if seat is None and waiting:
            seats[row] = waiting.popleft()
            begun_N[row] = True
    if begun_N.any():
        ids_N = np.array([0 if seat is None else seat.state for seat in seats])
        env.reset(options={"init_states": states, "init_state_ids": ids_N, "reset_mask": begun_N})


def _decide(
    policy: OutsidePolicy, env: LiberoVectorEnv, seats: list[_Seat | None], live: list[int]
) -> list[tuple[int, End]]:
    """One decision of the live members; returns which of them it ended, and how."""
    episodes, chosen = env.episodes, [seat for seat in seats if seat is not None]
    observations = env.batch.observations
    seen = Seen(
        pictures={name: observations[name][live] for name in episodes.settings.cameras},
        proprio_nP=observations["proprio"][live],
        state_n8=state(episodes.simulator, live),
        instruction=env.task_description,
        episodes=tuple(seat.number for seat in chosen),
        control_steps_n=episodes.control_steps_N[live],
    )
    chunk = policy.replan_steps
    actions_NCA = np.zeros((env.num_envs, chunk, ACTION_SIZE))
    actions_NCA[live] = np.stack([answer[:chunk] for answer in policy.act(seen)])
    before_N = episodes.control_steps_N.copy()
    _, _, terminated_N, truncated_N, infos = env.step(actions_NCA if chunk > 1 else actions_NCA[:, 0])
    for row, seat in zip(live, chosen, strict=True):
        seat.actions.extend(actions_NCA[row, : episodes.control_steps_N[row] - before_N[row]])
        stages_K = infos["stages"][row].astype(bool)
        seat.stages_K = stages_K if seat.stages_K is None else seat.stages_K | stages_K
    diverged_N = infos["diverged"]
    return [
        (row, "success" if terminated_N[row] else "diverged" if diverged_N[row] else "horizon")
        for row in live
        if terminated_N[row] or truncated_N[row]
    ]


def _record(env: LiberoVectorEnv, seat: _Seat, row: int, states: str, end: End) -> EpisodeRecord:
    episodes = env.episodes
    report, task = episodes.stage_report, env.task
    assert report is not None
    assert seat.stages_K is not None
    return EpisodeRecord(
        suite=task.suite,
        task=task.index,
        states=states,
        state=seat.state,
        success=end == "success",
        end=end,
        control_steps=int(episodes.control_steps_N[row]),
        progress=float(report.progress_N[row]),
        stages_done=tuple(name for name, done in zip(env.stage_names, seat.stages_K.tolist(), strict=True) if done),
        perturb=episodes.settings.perturbation,
    )
