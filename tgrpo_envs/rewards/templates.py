"""The stages of one conjunct of a goal, for `from_goal`: to place or push an object, to open, close or turn a part.

The numbers and their reasons are the constants.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tgrpo_envs.bddl import Conjunct
from tgrpo_envs.rewards.handles import HANDLE_SUFFIX, split_part

REACH_WITHIN_M = 0.05  # the grip site this close to the origin of a 2-14 cm object has its fingers about to close
GRASP_HOLD_STEPS = 3  # 0.15 s: longer than contacts flicker
LIFT_BY_M = 0.05
CARRY_WITHIN_M = 0.05  # inside the 6.1 cm half width of LIBERO's basket, its narrowest common container
ONTO_WITHIN_M = 0.03  # LIBERO's own tolerance of On(object, object): centres 3 cm apart (ObjectState.check_ontop)
ZONE_WITHIN_M = 0.10  # 5 cm before the edge of a zone of the table, all of which are 10 cm wide
OPENING_WITHIN_M = 0.10  # a hand's breadth in front of a shelf or microwave: from there it is slid in
LOWER_FROM_M = 0.15  # height over the target from which lowering earns; objects are carried 5 to 15 cm over rims
PLATE_RADIUS_M = 0.10  # the grip site at a plate's rim is about this far from its middle
HANDLE_WITHIN_M = 0.06  # handle bars are up to 13 cm long: a hand at their end is this far from their middle
TOUCH_HOLD_STEPS = 2
OPENED_FRAC = 0.9  # of the way to LIBERO's own "open": enough room for what goes in

PLACE_EFFORTS = {"reach": 1, "grasp": 2, "lift": 1, "carry": 3, "place": 2}
PUSH_EFFORTS = {"reach": 1, "touch": 1, "push": 3}
MOVE_EFFORTS = {"reach": 1, "touch": 1, "move": 3}

SPARE = ("touch", "lift")
"""Kinds of stages that the others can do without, those first that are missed least.

A touch has no ramp, and what moves was touched. Without a lift, the way to the target pays only while the object is
lifted as high.
"""

Stages = list[dict[str, Any]]


class Target(NamedTuple):
    """Where an object has to be carried before it can be put down.

    Attributes:
        within_m: How near to the target, in the plane, or to its opening.
        lower_from_m: How far from the target lowering begins to earn; None for as far as at reset.
        by_opening: Whether it is carried to the front of what it goes into, not over it.
    """

    within_m: float
    lower_from_m: float | None = LOWER_FROM_M
    by_opening: bool = False


def part_stages(toward: str, part: str, done: dict[str, Any], after: list[str]) -> Stages:
    """Reach the handle of a part, touch it, and open, close or turn it until `done`."""
    handle, name = part + HANDLE_SUFFIX, f"{toward}_{part}"
    touching = {"op": "touching", "a": split_part(part)[0]}
    near = {"op": "near", "a": "gripper", "b": handle, "within_m": HANDLE_WITHIN_M}
    return [
        {
            "id": f"reach_to_{name}",
            "effort": MOVE_EFFORTS["reach"],
            "after": after,
            "ramp": {"op": "approach", "a": "gripper", "b": handle, "to_m": HANDLE_WITHIN_M},
            "done": near,
        },
        {
            "id": f"touch_to_{name}",
            "effort": MOVE_EFFORTS["touch"],
            "after": [f"reach_to_{name}"],
            "done": touching,
            "hold_steps": TOUCH_HOLD_STEPS,
        },
        {
            "id": name,
            "effort": MOVE_EFFORTS["move"],
            "after": [f"touch_to_{name}"],
            "ramp": {"op": "actuate", "a": part, "toward": toward},
            "done": done,
            "latch": "live",
        },
    ]


def push_stages(index: int, moved: str, target: str) -> Stages:
    """Reach an object, touch it, and push it until the goal's conjunct `index` holds."""
    near = {"a": moved, "b": target, "axes": "xy"}
    return [
        {
            "id": f"reach_{moved}",
            "effort": PUSH_EFFORTS["reach"],
            "ramp": {"op": "approach", "a": "gripper", "b": moved, "to_m": PLATE_RADIUS_M},
            "done": {"op": "near", "a": "gripper", "b": moved, "within_m": PLATE_RADIUS_M},
        },
        {
            "id": f"touch_{moved}",
            "effort": PUSH_EFFORTS["touch"],
            "after": [f"reach_{moved}"],
            "done": {"op": "touching", "a": moved},
            "hold_steps": TOUCH_HOLD_STEPS,
        },
        {
            "id": f"push_{moved}",
            "effort": PUSH_EFFORTS["push"],
            "after": [f"touch_{moved}"],
            "ramp": {"op": "approach", **near, "to_m": 0.0},
            "done": {"op": "goal", "index": index},
            "latch": "live",
        },
    ]


def place_stages(
    index: int, conjunct: Conjunct, where: Target, reach_after: list[str], carry_after: list[str]
) -> Stages:
    """Reach an object, grasp it, lift it, carry it to its target, and put it down there.

    Args:
        index: Of the conjunct in the goal.
        conjunct: The predicate, the object and its target.
        where: How near to the target it is carried.
        reach_after: Stages before the first of these.
        carry_after: Stages before the object is carried, beside the lift.
    """
    predicate, moved, target = conjunct
    grasped = {"op": "grasped", "a": moved}
    pair = {"a": moved, "b": target}
    carry, arrived = {"op": "approach", **pair, "axes": "xy"}, {"op": "near", **pair, "axes": "xy"}
    if where.by_opening:
        carry, arrived = {"op": "approach_opening", **pair}, {"op": "at_opening", **pair}
    lower = pair | ({"from_m": where.lower_from_m} if where.lower_from_m else {})
    if predicate == "in":
        lower |= {"op": "inside_depth"}
    else:  # resting heights differ by object, so the ramp ends where none can: it never fills before the goal holds
        lower |= {"op": "approach", "to_m": 0.0}
    reach = {"op": "near", "a": "gripper", "b": moved, "within_m": REACH_WITHIN_M}
    return [
        {
            "id": f"reach_{moved}",
            "effort": PLACE_EFFORTS["reach"],
            "after": reach_after,
            "ramp": {"op": "approach", "a": "gripper", "b": moved, "to_m": REACH_WITHIN_M},
            # touching: wide objects are held by the rim, far from their origin
            "done": {"any": [reach, {"op": "touching", "a": moved}]},
        },
        {
            "id": f"grasp_{moved}",
            "effort": PLACE_EFFORTS["grasp"],
            "after": [f"reach_{moved}"],
            "done": grasped,
            "hold_steps": GRASP_HOLD_STEPS,
            "latch": "live",
        },
        {
            "id": f"lift_{moved}",
            "effort": PLACE_EFFORTS["lift"],
            "after": [f"grasp_{moved}"],
            "while": [grasped],
            "ramp": {"op": "raise", "a": moved, "to_m": LIFT_BY_M},
            "done": {"op": "lifted", "a": moved, "by_m": LIFT_BY_M},
        },
        {
            "id": f"carry_{moved}",
            "effort": PLACE_EFFORTS["carry"],
            "after": [f"lift_{moved}", *carry_after],
            "while": [grasped],
            "ramp": {**carry, "to_m": where.within_m},
            "done": {**arrived, "within_m": where.within_m},
            "latch": "live",
        },
        {
            "id": f"place_{moved}",
            "effort": PLACE_EFFORTS["place"],
            "after": [f"carry_{moved}"],
            "ramp": lower,
            "done": {"op": "goal", "index": index},
            "latch": "live",
        },
    ]


def without(kind: str, stages: Stages) -> Stages:
    """Leave out the stages of a kind, each of which waits for one stage.

    What waited for it waits for that one, which takes over its effort: conjuncts weigh as before. A ramp that pays only
    while something holds then pays only while the `done` of what is left out holds as well.
    """
    gone = {stage["id"]: stage for stage in stages if stage["id"].startswith(f"{kind}_")}
    efforts = {stage["after"][0]: stage["effort"] for stage in gone.values()}
    kept = []
    for stage in stages:
        if stage["id"] in gone:
            continue
        after = stage.get("after", [])
        changed = {
            "effort": stage["effort"] + efforts.get(stage["id"], 0),
            "after": [gone[name]["after"][0] if name in gone else name for name in after],
        }
        if "while" in stage:
            changed["while"] = stage["while"] + [gone[name]["done"] for name in after if name in gone]
        kept.append(stage | changed)
    return kept
