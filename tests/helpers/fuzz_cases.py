"""Random specs, profiles and trajectories from a numpy generator: fast enough to try the guarantees 100,000 times.

The scene has two movables, a cabinet with one drawer and a stove, so that every word of the vocabulary can be drawn.
`reward_cases` draws from hypothesis, which shrinks what fails but is too slow for numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.helpers.reward_cases import make_spec
from tgrpo_envs.rewards import CreditProfile, StageSpec, largest_beta
from tgrpo_envs.rewards.entities import FIXTURE, GRIPPER, HANDLE, MOVABLE, REGION
from tgrpo_envs.rewards.predicates import PREDICATES
from tgrpo_envs.rewards.ramps import RAMPS
from tgrpo_envs.rewards.words import Word
from tgrpo_envs.sim.snapshot import Snapshot, SnapshotLayout

CAN, TRAY, CABINET, STOVE = "can_1", "tray_1", "wooden_cabinet_1", "flat_stove_1"
BOX, DRAWER = "tray_1_contain_region", "wooden_cabinet_1_top_region"
LAYOUT = SnapshotLayout(
    objects=(CAN, TRAY, CABINET, STOVE),
    num_movables=2,
    sites=(BOX, DRAWER),
    site_half_sizes_S3=np.array([[0.06, 0.08, 0.07], [0.1, 0.1, 0.05]]),
    site_parents_S=np.array([1, 2]),
    joints=("wooden_cabinet_1_top_level", "flat_stove_1_button"),
    joint_objects_J=np.array([2, 3]),
    joint_sites_J=np.array([1, -1]),
)
NUM_GOALS = 3
PLACES = {
    GRIPPER: GRIPPER,
    **dict.fromkeys((CAN, TRAY), MOVABLE),
    **dict.fromkeys((CABINET, STOVE), FIXTURE),
    **dict.fromkeys((BOX, DRAWER), REGION),
    **dict.fromkeys((f"{DRAWER}_handle", f"{STOVE}_handle"), HANDLE),
}
"""Kinds of what the scene has."""
PARTS = ((DRAWER, "open"), (DRAWER, "close"), (STOVE, "on"), (STOVE, "off"))
NAN_FRAC = 0.002  # of the members at each step: a simulation that diverged


def random_spec(rng: np.random.Generator) -> StageSpec:
    """Any valid spec of up to seven stages: random graph, words, connectives, numbers, latches and maintain rules."""
    stages: list[dict[str, Any]] = []
    for k in range(int(rng.integers(1, 8))):
        earlier = [stage["id"] for stage in stages]
        count = min(len(earlier), int(rng.integers(0, 3))) if earlier else 0
        after = rng.choice(earlier, count, replace=False) if earlier else np.array([], dtype=str)
        stages.append(
            {
                "id": f"stage_{k}",
                "effort": int(rng.integers(1, 6)),
                "after": [str(name) for name in after],
                "while": [_condition(rng) for _ in range(int(rng.integers(0, 2)))],
                "ramp": _ramp(rng) if rng.random() < 0.8 else None,
                "done": _condition(rng),
                "hold_steps": int(rng.integers(1, 4)),
                "latch": str(rng.choice(["once", "live"])),
            }
        )
    rng.shuffle(stages)  # `after` may point forward in the file
    maintain = [
        {"holds": _condition(rng), "cost_frac": float(rng.random())} for _ in range(int(rng.choice([0, 0, 1, 2])))
    ]
    return make_spec(stages, maintain)


def random_profile(rng: np.random.Generator, horizon: int) -> CreditProfile:
    """Any profile for which the order is promised: all modes but shaping, `beta` below the bound of its discount."""
    discount = float(rng.choice([1.0, 1.0, 0.99, 0.9]))
    return CreditProfile(
        beta=float(rng.choice([0.0, 0.3, 0.5, 0.9, 0.999])) * min(largest_beta(discount, horizon), 1.0),
        kappa=float(rng.choice([0.0, 0.3, 0.7, 1.0, rng.random()])),
        eta=float(rng.choice([0.0, 0.0, 0.1, 1.0])),
        quantum=1 / int(rng.choice([1, 7, 64, 100, 4096])),
        mode=rng.choice(["stages", "stages", "stages", "goals-only", "sparse"]),
        discount=discount,
    )


def random_trajectories(rng: np.random.Generator, num_envs: int, steps: int) -> tuple[list[Snapshot], list[np.ndarray]]:
    """States and goal truth of the reset and of `steps` control steps; no member's goals all hold at once.

    In each batch some members stay where they are from one step to the next, and now and then one turns to NaN.
    """
    stay = rng.choice([0.0, 0.3, 0.7])
    snapshots, goals = [_random_snapshot(rng, num_envs)], [_random_goals(rng, num_envs)]
    for _ in range(steps):
        snapshot, goal_NC = _random_snapshot(rng, num_envs), _random_goals(rng, num_envs)
        stays_N = rng.random(num_envs) < stay
        for field in Snapshot.__slots__:
            getattr(snapshot, field)[stays_N] = getattr(snapshots[-1], field)[stays_N]
        goal_NC[stays_N] = goals[-1][stays_N]
        snapshot.object_pos_NO3[rng.random(num_envs) < NAN_FRAC] = np.nan
        snapshots.append(snapshot)
        goals.append(goal_NC)
    return snapshots, goals


def _random_snapshot(rng: np.random.Generator, num_envs: int) -> Snapshot:
    snapshot = Snapshot.empty(LAYOUT, num_envs)
    scale = rng.choice([0.03, 0.1, 0.2])
    for positions in (snapshot.object_pos_NO3, snapshot.site_pos_NS3, snapshot.gripper_pos_N3):
        positions[:] = rng.normal(scale=scale, size=positions.shape)
    for matrices in (snapshot.object_mat_NO33, snapshot.site_mat_NS33, snapshot.gripper_mat_N33):
        matrices[:] = np.linalg.qr(np.eye(3) + rng.choice([0.1, 1.0]) * rng.normal(size=matrices.shape))[0]
    snapshot.object_speed_NO[:] = rng.exponential(0.1, size=snapshot.object_speed_NO.shape)
    snapshot.joint_qpos_NJ[:] = rng.uniform([-0.16, -0.01], [0.01, 2.1], size=snapshot.joint_qpos_NJ.shape)
    for contacts in (snapshot.contact_NOO, snapshot.finger_contact_NO2, snapshot.touch_NO):
        contacts[:] = rng.random(contacts.shape) < 0.6
    return snapshot


def _random_goals(rng: np.random.Generator, num_envs: int) -> np.ndarray:
    goal_NC = rng.random((num_envs, NUM_GOALS)) < 0.3
    goal_NC[goal_NC.all(axis=1), rng.integers(NUM_GOALS)] = False
    return goal_NC


def _condition(rng: np.random.Generator, depth: int = 0) -> dict[str, Any]:
    kind = rng.choice(["predicate", "predicate", "all", "any", "not"]) if depth < 2 else "predicate"
    if kind == "predicate":
        return random_word(rng, PREDICATES[str(rng.choice(sorted(PREDICATES)))])
    if kind == "not":
        return {"not": _condition(rng, depth + 1)}
    return {str(kind): [_condition(rng, depth + 1) for _ in range(int(rng.integers(1, 4)))]}


def _ramp(rng: np.random.Generator) -> dict[str, Any]:
    return random_word(rng, RAMPS[str(rng.choice(sorted(RAMPS)))])


def random_word(rng: np.random.Generator, model: type[Word]) -> dict[str, Any]:
    """A predicate or ramp with random entities of the right kinds and random numbers of its ranges."""
    fields: dict[str, Any] = {}
    for name, schema in model.model_json_schema()["properties"].items():
        if "const" in schema:
            fields[name] = schema["const"]
        elif name in model.entity_fields():
            kinds = model.entity_fields()[name]
            part, fields["toward"] = PARTS[int(rng.integers(len(PARTS)))] if kinds.jointed else ("", None)
            fields[name] = part or str(rng.choice([place for place, kind in PLACES.items() if kind in kinds.kinds]))
        elif name == "index":
            fields[name] = int(rng.integers(NUM_GOALS))
        elif name == "from_m":  # beyond any `to_m`
            fields[name] = None if rng.random() < 0.5 else round(float(rng.uniform(0.31, 1.0)), 3)
        elif name != "toward":  # which must suit the part
            fields[name] = _value(rng, schema)
    return {name: value for name, value in fields.items() if name in model.model_fields}


def _value(rng: np.random.Generator, schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return str(rng.choice(schema["enum"]))
    return round(float(rng.uniform(schema["minimum"], schema["maximum"])), 3)
