"""Bad but plausible policies, scripted for every shape of goal: what an honest near-miss has to out-earn.

| policy | an object that goes somewhere | a door, a drawer or a knob |
|---|---|---|
| press | the shut hand presses on it from above | the same on the handle |
| shove | the shut hand pushes it to its target, low over the table | the same, towards the fixture |
| rub | the shut hand presses on it and rubs it towards its target | the same, along the handle |
| hover | the open hand waits over it, then over its target | the open hand waits over the handle |
| drag | the expert grasps it and pulls it to its target without a lift | |
| fling | the expert lifts it, swings it towards its target and lets go on the way | |
| push_target | the shut hand pushes the target, where that is an object, to it | |

They read snapshots alone, as the expert does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tgrpo_envs.expert import ScriptedExpert
from tgrpo_envs.expert.motion import ACTION_METRES, ACTION_SIZE, CLOSE, GAIN, OPEN, Phase
from tgrpo_envs.expert.shapes import SHAPES, category_of
from tgrpo_envs.reward_tools.certify.evidence import BadPolicy
from tgrpo_envs.rewards.entities import MOVABLE, REGION, Place, resolve
from tgrpo_envs.rewards.handles import HANDLE_SUFFIX, find_handle
from tgrpo_envs.rewards.quantities import half_extents, position
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray, Snapshot, SnapshotLayout

TRAVEL_M = 0.15  # the hand travels this high over what it goes to
HOVER_M = 0.03
BEHIND_M = 0.12  # a shove begins this far behind what is pushed: bowls have a radius of 6 cm, the hand one of 4 cm
BEYOND_M = 0.05  # and aims this far beyond the target, so that it does not stop short of it
PRESS_M = 0.06  # a hand that presses aims this far under the top of what it presses on
ARRIVED_M = 0.02
LEG_STEPS = 45  # control steps after which a way that leads nowhere is over
DRAG_DOWN_M = 0.01
LIFTED_M, SWING_STEPS = 0.05, 4

Where = Callable[[Snapshot], FloatArray]
Act = Callable[[Snapshot, int], FloatArray]
"""From the present snapshot of some environments and the number of past control steps to their actions."""
Actor = Callable[[Snapshot], Act]
"""Makes what acts, from the settled start."""


class Leg(NamedTuple):
    """A way of the hand.

    Attributes:
        to: Where to, (N, 3), metres; asked at every control step.
        grip: The gripper's command.
    """

    to: Where
    grip: float = CLOSE


class _Thing:
    """What the hand goes to: an object, a region or a handle."""

    def __init__(self, layout: SnapshotLayout, name: str) -> None:
        self.place: Place = resolve(name, layout, "the goal")
        shape = SHAPES.get(category_of(name)) if self.place.kind == MOVABLE else None
        self._below, self._above = (shape.below, shape.above) if shape else (0.0, 0.0)

    def middle(self, snapshot: Snapshot) -> FloatArray:
        """(N, 3), half-way up."""
        return position(snapshot, self.place) + _up((self._above - self._below) / 2)

    def over(self, height: float) -> Where:
        """This high over its top."""

        def where(snapshot: Snapshot) -> FloatArray:
            top_N3 = position(snapshot, self.place) + _up(self._above + height)
            if self.place.kind == REGION:
                top_N3[:, 2] += half_extents(snapshot, self.place)[:, 2]
            return top_N3

        return where


def bad_policies(layout: SnapshotLayout, conjunct: tuple[str, ...], *, has_expert: bool) -> dict[BadPolicy, Actor]:
    """The policies for one conjunct of a goal, by name.

    Args:
        layout: Of the scene.
        conjunct: Of the goal.
        has_expert: Whether the expert has a skill for it: without, nobody drags and flings.

    Raises:
        UnknownNameError: The scene lacks an entity of the conjunct.
    """
    if len(conjunct) == 2:
        return _at_handle(_Thing(layout, conjunct[1] + HANDLE_SUFFIX)) if find_handle(conjunct[1]) else {}
    moved, target = (_Thing(layout, name) for name in conjunct[1:])

    def rubbed_to(start: Snapshot) -> Where:
        height_N = moved.over(-PRESS_M)(start)[:, 2]
        return lambda snapshot: np.column_stack([target.middle(snapshot)[:, :2], height_N])

    found: dict[BadPolicy, Actor] = {
        "press": _legs(lambda _: _press(moved)),
        "shove": _legs(lambda start: _shove(start, moved, target.middle)),
        "rub": _legs(lambda start: [*_press(moved), Leg(rubbed_to(start))]),
        "hover": _legs(lambda _: [Leg(moved.over(HOVER_M), OPEN), Leg(target.over(TRAVEL_M), OPEN)]),
    }
    if has_expert:
        found["drag"] = _drag(layout, conjunct, target)
        found["fling"] = _fling(layout, conjunct, moved, target)
    if target.place.kind == MOVABLE:
        found["push_target"] = _legs(lambda start: _shove(start, target, moved.middle))
    return found


def _at_handle(handle: _Thing) -> dict[BadPolicy, Actor]:
    def fixture(snapshot: Snapshot) -> FloatArray:
        return snapshot.object_pos_NO3[:, handle.place.row]

    def along(start: Snapshot) -> FloatArray:
        """Beside the handle, across the way to the fixture, where a hand presses."""
        ahead_N2 = _ahead(handle.middle(start), fixture(start))
        beside_N3 = handle.over(-PRESS_M)(start)
        beside_N3[:, :2] += BEHIND_M * np.column_stack([-ahead_N2[:, 1], ahead_N2[:, 0]])
        return beside_N3

    return {
        "press": _legs(lambda _: _press(handle)),
        "shove": _legs(lambda start: _shove(start, handle, fixture)),
        "rub": _legs(lambda start: [*_press(handle), Leg(_fixed(along(start)))]),
        "hover": _legs(lambda _: [Leg(handle.over(HOVER_M), OPEN)]),
    }


def _press(thing: _Thing) -> list[Leg]:
    return [Leg(thing.over(TRAVEL_M)), Leg(thing.over(-PRESS_M))]


def _shove(start: Snapshot, thing: _Thing, target: Where) -> list[Leg]:
    """From behind the thing, at half its height, to a little beyond the target."""
    middle_N3, ahead_N2 = thing.middle(start), _ahead(thing.middle(start), target(start))
    behind_N3, beyond_N3 = middle_N3.copy(), middle_N3.copy()
    behind_N3[:, :2] -= BEHIND_M * ahead_N2
    beyond_N3[:, :2] = target(start)[:, :2] + BEYOND_M * ahead_N2
    return [Leg(_fixed(behind_N3 + _up(TRAVEL_M))), Leg(_fixed(behind_N3)), Leg(_fixed(beyond_N3))]


def _legs(plan: Callable[[Snapshot], Sequence[Leg]]) -> Actor:
    """Goes each way until the hand is there or the time for it is over; the last one without end."""

    def actor(start: Snapshot) -> Act:
        legs = plan(start)
        grips = np.array([leg.grip for leg in legs])
        every = np.arange(len(start.gripper_pos_N3))
        leg_N, clock_N = np.zeros((2, len(every)), dtype=np.int64)

        def act(snapshot: Snapshot, _: int) -> FloatArray:
            way_N3 = np.stack([leg.to(snapshot) for leg in legs])[leg_N, every] - snapshot.gripper_pos_N3
            action_NA = _action(way_N3, grips[leg_N])
            over_N = (np.linalg.norm(way_N3, axis=1) < ARRIVED_M) | (clock_N >= LEG_STEPS)
            clock_N[:] = np.where(over_N, 0, clock_N + 1)
            leg_N[:] = np.minimum(leg_N + over_N, len(legs) - 1)
            return action_NA

        return act

    return actor


def _drag(layout: SnapshotLayout, conjunct: tuple[str, ...], target: _Thing) -> Actor:
    def actor(start: Snapshot) -> Act:
        expert, held_N = _expert(layout, conjunct, start)

        def act(snapshot: Snapshot, _: int) -> FloatArray:
            action_NA = expert.act(snapshot)
            held_N[:] |= expert.phase_N == Phase.CARRY
            way_N3 = target.middle(snapshot) - snapshot.gripper_pos_N3
            way_N3[:, 2] = -DRAG_DOWN_M
            return np.where(held_N[:, None], _action(way_N3, CLOSE), action_NA)

        return act

    return actor


def _fling(layout: SnapshotLayout, conjunct: tuple[str, ...], moved: _Thing, target: _Thing) -> Actor:
    def actor(start: Snapshot) -> Act:
        expert, held_N = _expert(layout, conjunct, start)
        clock_N, start_z_N = np.zeros(len(held_N), dtype=np.int64), moved.middle(start)[:, 2]

        def act(snapshot: Snapshot, _: int) -> FloatArray:
            action_NA = expert.act(snapshot)
            held_N[:] |= (expert.phase_N == Phase.CARRY) & (moved.middle(snapshot)[:, 2] > start_z_N + LIFTED_M)
            clock_N[:] += held_N
            swing_N3 = np.zeros((len(held_N), 3))
            swing_N3[:, :2] = ACTION_METRES * _ahead(moved.middle(snapshot), target.middle(snapshot))
            swing_N3[clock_N > SWING_STEPS] = 0.0
            return np.where(held_N[:, None], _action(swing_N3, np.where(clock_N < SWING_STEPS, CLOSE, OPEN)), action_NA)

        return act

    return actor


def _expert(layout: SnapshotLayout, conjunct: tuple[str, ...], start: Snapshot) -> tuple[ScriptedExpert, BoolArray]:
    """An expert at its start, and where it has what it went for: nowhere yet."""
    count = len(start.gripper_pos_N3)
    expert = ScriptedExpert(layout, (conjunct,), count)
    expert.reset(start, np.ones(count, dtype=bool))
    return expert, np.zeros(count, dtype=bool)


def _action(way_N3: FloatArray, grip_N: FloatArray | float) -> FloatArray:
    """Straight there, without turning the hand."""
    action_NA = np.zeros((len(way_N3), ACTION_SIZE))
    action_NA[:, :3] = np.clip(GAIN * way_N3 / ACTION_METRES, -1.0, 1.0)
    action_NA[:, -1] = grip_N
    return action_NA


def _ahead(from_N3: FloatArray, to_N3: FloatArray) -> FloatArray:
    """Horizontal direction from one point to another, (N, 2)."""
    way_N2 = (to_N3 - from_N3)[:, :2]
    direction_N2: FloatArray = way_N2 / np.maximum(np.linalg.norm(way_N2, axis=1, keepdims=True), 1e-6)
    return direction_N2


def _up(height: float) -> FloatArray:
    return np.array([0.0, 0.0, height])


def _fixed(point_N3: FloatArray) -> Where:
    return lambda _: point_N3
