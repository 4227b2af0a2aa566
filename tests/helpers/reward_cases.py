"""Shared by the reward tests: a small scene, random specs and trajectories, and a slow tracker written independently.

`ScalarTracker` follows one environment with plain Python numbers, straight from the text of docs/rewards.md, and
shares no code with `tgrpo_envs.rewards` but the spec's JSON.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tgrpo_envs.rewards import CreditProfile, StageSpec, StageTracker, parse_spec
from tgrpo_envs.sim.snapshot import Snapshot, SnapshotLayout

CAN, TRAY, CABINET, BOX, ZONE = "can_1", "tray_1", "cabinet_1", "tray_1_contain_region", "floor_left_region"
LAYOUT = SnapshotLayout(
    objects=(CAN, TRAY, CABINET),
    num_movables=2,
    sites=(BOX, ZONE),
    site_half_sizes_S3=np.array([[0.06, 0.08, 0.07], [0.1, 0.1, 0.001]]),
    site_parents_S=np.array([1, -1]),
    joints=(),
    joint_objects_J=np.zeros(0, dtype=np.int64),
    joint_sites_J=np.zeros(0, dtype=np.int64),
)
NUM_GOALS = 2

_MOVABLE = st.sampled_from([CAN, TRAY])
_OBJECT = st.sampled_from([CAN, TRAY, CABINET])
_REGION = st.sampled_from([BOX, ZONE])
_ANY = st.sampled_from(["gripper", CAN, TRAY, CABINET, BOX, ZONE])


def _metres(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda value: round(value, 3))


def _atom(op: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"op": st.just(op), **fields})


ATOM = st.one_of(
    _atom("near", a=_ANY, b=_ANY, within_m=_metres(0.01, 0.3), axes=st.sampled_from(["xyz", "xy", "z"])),
    _atom("touching", a=_OBJECT),
    _atom("grasped", a=_MOVABLE),
    _atom("released", a=_MOVABLE),
    _atom("lifted", a=_MOVABLE, by_m=_metres(0.02, 0.3)),
    _atom("above", a=_MOVABLE, b=st.one_of(_OBJECT, _REGION), min_m=_metres(0, 0.1), xy_within_m=_metres(0.02, 0.15)),
    _atom("inside", a=_MOVABLE, b=_REGION, margin_m=_metres(0, 0.03)),
    _atom("at_opening", a=_MOVABLE, b=_REGION, within_m=_metres(0.02, 0.15)),
    _atom("resting_on", a=_MOVABLE, b=_OBJECT),
    _atom("upright", a=_MOVABLE, within_deg=st.floats(5, 60)),
    _atom("still", a=_MOVABLE, below_mps=st.floats(0.005, 0.2)),
    _atom("moved", a=_MOVABLE, by_m=_metres(0.01, 0.3)),
    _atom("goal", index=st.integers(0, NUM_GOALS - 1)),
)
_ONE_DEEP = st.one_of(
    ATOM,
    st.fixed_dictionaries({"all": st.lists(ATOM, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"any": st.lists(ATOM, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"not": ATOM}),
)
CONDITION = st.one_of(ATOM, st.fixed_dictionaries({"any": st.lists(_ONE_DEEP, min_size=1, max_size=2)}), _ONE_DEEP)
_FROM = st.one_of(st.none(), _metres(0.31, 1.0))
RAMP = st.one_of(
    _atom("approach", a=_ANY, b=_ANY, to_m=_metres(0, 0.3), from_m=_FROM, axes=st.sampled_from(["xyz", "xy", "z"])),
    _atom("approach_opening", a=_MOVABLE, b=_REGION, to_m=_metres(0, 0.15), from_m=_FROM),
    _atom("raise", a=_MOVABLE, to_m=_metres(0.02, 0.3)),
    _atom("inside_depth", a=_MOVABLE, b=_REGION, from_m=_FROM),
    _atom("constant", value_frac=st.floats(0, 1)),
)


@st.composite
def specs(draw: st.DrawFn) -> StageSpec:
    """Any valid spec over `LAYOUT` with up to five stages."""
    stages: list[dict[str, Any]] = []
    for k in range(draw(st.integers(1, 5))):
        earlier = [stage["id"] for stage in stages]
        stages.append(
            {
                "id": f"stage_{k}",
                "effort": draw(st.integers(1, 5)),
                "after": draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2)) if earlier else [],
                "while": draw(st.lists(CONDITION, max_size=1)),
                "ramp": draw(st.one_of(st.none(), RAMP)),
                "done": draw(CONDITION),
                "hold_steps": draw(st.integers(1, 3)),
                "latch": draw(st.sampled_from(["once", "live"])),
            }
        )
    stages = draw(st.permutations(stages))  # `after` may point forward in the file
    maintain = draw(st.lists(st.fixed_dictionaries({"holds": CONDITION, "cost_frac": st.floats(0, 1)}), max_size=2))
    return make_spec(stages, maintain)


@st.composite
def profiles(draw: st.DrawFn, *, eta: bool = True) -> CreditProfile:
    """Stage profiles, edges included; sampled, because drawn floats are 0 in most examples."""
    return CreditProfile(
        beta=draw(st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.99])),
        kappa=draw(st.sampled_from([0.0, 0.3, 0.7, 1.0])),
        eta=draw(st.sampled_from([0.0, 0.1, 0.5])) if eta else 0.0,
        quantum=1 / draw(st.sampled_from([1, 7, 64, 100, 4096])),
    )


SEEDS = st.integers(0, 2**32 - 1)


def make_spec(stages: list[dict[str, Any]], maintain: list[dict[str, Any]] | None = None) -> StageSpec:
    """A spec from plain dicts, through the same door as a file."""
    task = {"suite": "libero_object", "name": "test"}
    return parse_spec(
        json.dumps({"schema": "stage-spec/1", "task": task, "stages": stages, "maintain": maintain or []})
    )


def still_snapshot(num_envs: int = 1) -> Snapshot:
    """Everything at the origin, level, untouched."""
    snapshot = Snapshot.empty(LAYOUT, num_envs)
    snapshot.object_mat_NO33[:] = np.eye(3)
    snapshot.site_mat_NS33[:] = np.eye(3)
    snapshot.gripper_mat_N33[:] = np.eye(3)
    return snapshot


def random_snapshot(rng: np.random.Generator, num_envs: int) -> Snapshot:
    """A state in which each atom of the vocabulary is true about as often as not."""
    snapshot = still_snapshot(num_envs)
    scale = rng.choice([0.03, 0.1, 0.2])
    for positions in (snapshot.object_pos_NO3, snapshot.site_pos_NS3, snapshot.gripper_pos_N3):
        positions[:] = rng.normal(scale=scale, size=positions.shape)
    snapshot.object_mat_NO33[:] = _rotations(rng, snapshot.object_mat_NO33.shape[:2])
    snapshot.site_mat_NS33[:] = _rotations(rng, snapshot.site_mat_NS33.shape[:2])
    snapshot.object_speed_NO[:] = rng.exponential(0.1, size=snapshot.object_speed_NO.shape)
    for contacts in (snapshot.contact_NOO, snapshot.finger_contact_NO2, snapshot.touch_NO):
        contacts[:] = rng.random(contacts.shape) < 0.6
    return snapshot


def random_goals(rng: np.random.Generator, num_envs: int, *, success: bool = False) -> np.ndarray:
    """Goal truth that is never all true, or with `success` always."""
    goal_NC = rng.random((num_envs, NUM_GOALS)) < 0.3
    goal_NC[goal_NC.all(axis=1), rng.integers(NUM_GOALS)] = False
    return goal_NC | success


def run_episode(
    spec: StageSpec, profile: CreditProfile, rng: np.random.Generator, steps: int, horizon: int, *, success: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rewards (T,) and progress (T,) of one random episode, which ends in success if asked to."""
    tracker = StageTracker(spec, profile, LAYOUT, 1, horizon)
    every = np.array([True])
    tracker.reset(random_snapshot(rng, 1), random_goals(rng, 1), every)
    rewards, progress = [], []
    for step in range(1, steps + 1):
        goal_NC = random_goals(rng, 1, success=success and step == steps)
        report = tracker.step(random_snapshot(rng, 1), goal_NC, every, np.array([step]))
        rewards.append(report.reward_N[0])
        progress.append(report.progress_N[0])
    return np.array(rewards), np.array(progress)


def _rotations(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    tilt = rng.choice([0.1, 1.0]) * rng.normal(size=(*shape, 3))
    angle = np.linalg.norm(tilt, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(tilt / angle[..., 0], -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues' formula


class ScalarTracker:
    """One environment, one number at a time."""

    def __init__(self, spec: StageSpec, profile: CreditProfile, horizon: int) -> None:
        document = json.loads(spec.model_dump_json(by_alias=True))
        self.stages = {stage["id"]: stage for stage in document["stages"]}
        self.maintain = document["maintain"]
        self.profile, self.horizon = profile, horizon

    def reset(self, scene: dict[str, Any], goals: list[bool]) -> None:
        self.start = scene
        self.held = dict.fromkeys(self.stages, 99)
        self.completed: set[str] = set()
        self.span = {name: self._left(stage["ramp"], scene)[1] for name, stage in self.stages.items()}
        credit = self._credits(scene, goals)
        self.efforts = {name: self.stages[name]["effort"] for name, p in credit.items() if p < 1}
        self.phi_0 = self._weighted(credit)
        self.best = self.psi = self.total = self.phi = 0.0
        self.over = False

    def step(self, scene: dict[str, Any], goals: list[bool], t: int) -> float:
        if self.over:
            return 0.0
        credit = self._credits(scene, goals)
        self.phi = min(max((self._weighted(credit) - self.phi_0) / (1 - self.phi_0), 0), 1)
        for rule in self.maintain:
            if not self._holds(rule["holds"], scene, goals):
                self.phi *= 1 - rule["cost_frac"]
        self.best = max(self.best, self.phi)
        n = round(1 / self.profile.quantum)
        kappa = self.profile.kappa
        psi = math.floor(((1 - kappa) * self.best + kappa * self.phi) * n + 1e-9) / n
        if all(goals):
            reward = 1 - self.total + self.profile.eta * (1 - t / self.horizon)
        else:
            reward = self.profile.beta * (psi - self.psi)
        self.psi = psi
        self.total += reward
        self.over = all(goals) or t >= self.horizon
        return reward

    def _weighted(self, credit: dict[str, float]) -> float:
        total = sum(self.efforts.values())
        return sum(effort / total * credit[name] for name, effort in self.efforts.items()) if total else 0.0

    def _credits(self, scene: dict[str, Any], goals: list[bool]) -> dict[str, float]:
        for name, stage in self.stages.items():
            holds = self._holds(stage["done"], scene, goals)
            self.held[name] = self.held[name] + 1 if holds else 0
        credited = self._led_to(goals)
        # completing one stage may open the next in the same step: repeat until nothing changes
        while True:
            new = {name for name in self.stages if self._is_open(name, credited) and self._is_ready(name)}
            if new <= self.completed:
                break
            self.completed |= new
        return {name: self._credit(name, credited, scene, goals) for name in self.stages}

    def _credit(self, name: str, credited: set[str], scene: dict[str, Any], goals: list[bool]) -> float:
        stage = self.stages[name]
        is_open = self._is_open(name, credited)
        done = name in self.completed if stage["latch"] == "once" else is_open and self._is_ready(name)
        if done or name in credited:
            return 1.0
        if not is_open or not all(self._holds(condition, scene, goals) for condition in stage["while"]):
            return 0.0
        left = self._left(stage["ramp"], scene)[0]
        return 0.9 * min(max(1 - left / self.span[name], 0), 1)

    def _is_open(self, name: str, credited: set[str]) -> bool:
        return all(other in self.completed or other in credited for other in self.stages[name]["after"])

    def _is_ready(self, name: str) -> bool:
        return self.held[name] >= self.stages[name]["hold_steps"]

    def _led_to(self, goals: list[bool]) -> set[str]:
        found: set[str] = set()

        def walk_back(name: str, index: int) -> None:
            for other in self.stages[name]["after"]:
                if not self._asked(self.stages[other]["done"]) - {index}:
                    found.add(other)
                    walk_back(other, index)

        for name, stage in self.stages.items():
            for index in self._asked(stage["done"]):
                if goals[index]:
                    walk_back(name, index)
        return found

    def _asked(self, condition: dict[str, Any]) -> set[int]:
        if condition.get("op") == "goal":
            return {condition["index"]}
        parts = condition.get("all", []) + condition.get("any", [])
        return set().union(*(self._asked(part) for part in parts))

    def _holds(self, c: dict[str, Any], now: dict[str, Any], goals: list[bool]) -> bool:
        if "all" in c:
            return all(self._holds(part, now, goals) for part in c["all"])
        if "any" in c:
            return any(self._holds(part, now, goals) for part in c["any"])
        if "not" in c:
            return not self._holds(c["not"], now, goals)
        if c["op"] == "goal":
            return goals[c["index"]]
        return self._relation(c, now, c["a"], c["b"]) if "b" in c else self._property(c, now, c["a"])

    def _property(self, c: dict[str, Any], now: dict[str, Any], a: str) -> bool:
        match c["op"]:
            case "touching":
                return now["touch"][a]
            case "grasped":
                return all(now["pads"][a])
            case "released":
                return not now["touch"][a]
            case "lifted":
                return now["pos"][a][2] - self.start["pos"][a][2] >= c["by_m"]
            case "upright":
                before, after = np.array(self.start["mat"][a]), np.array(now["mat"][a])
                up = after @ (before.T @ [0, 0, 1])
                return math.degrees(math.acos(min(1.0, up[2]))) <= c["within_deg"]
            case "still":
                return now["speed"][a] < c["below_mps"]
            case "moved":
                return math.dist(now["pos"][a], self.start["pos"][a]) >= c["by_m"]
        raise AssertionError(c)

    def _relation(self, c: dict[str, Any], now: dict[str, Any], a: str, b: str) -> bool:
        match c["op"]:
            case "near":
                return distance(now, a, b, c["axes"]) <= c["within_m"]
            case "above":
                top = now["pos"][b][2] + (half_extents(now, b)[2] if b in now["half"] else 0)
                return now["pos"][a][2] - top >= c["min_m"] and distance(now, a, b, "xy") <= c["xy_within_m"]
            case "inside":
                half, centre, x = half_extents(now, b), now["pos"][b], now["pos"][a]
                low = [centre[i] - half[i] - (0.01 if i == 2 else 0) + c["margin_m"] for i in range(3)]
                high = [centre[i] + half[i] - c["margin_m"] for i in range(3)]
                return all(low[i] < x[i] < high[i] for i in range(3))
            case "at_opening":
                return way_to_top(now, a, b) <= c["within_m"]
            case "resting_on":
                return now["contact"][a][b] and now["pos"][a][2] >= now["pos"][b][2]
        raise AssertionError(c)

    def _left(self, ramp: dict[str, Any] | None, now: dict[str, Any]) -> tuple[float, float]:
        """Metres left of a ramp, and the length it would have if it started now."""
        if ramp is None:
            return 1.0, 1.0
        a, b = ramp.get("a", ""), ramp.get("b", "")
        match ramp["op"]:
            case "constant":
                return 1 - ramp["value_frac"], 1.0
            case "raise":
                return ramp["to_m"] - (now["pos"][a][2] - self.start["pos"][a][2]), ramp["to_m"]
            case "approach":
                left = max(distance(now, a, b, ramp["axes"]) - ramp["to_m"], 0)
                return left, ramp["from_m"] - ramp["to_m"] if ramp["from_m"] else max(left, 0.01)
            case "approach_opening":
                left = max(way_to_top(now, a, b) - ramp["to_m"], 0)
                return left, ramp["from_m"] - ramp["to_m"] if ramp["from_m"] else max(left, 0.01)
            case "inside_depth":
                half, centre, x = half_extents(now, b), now["pos"][b], now["pos"][a]
                below = [centre[i] - half[i] - (0.01 if i == 2 else 0) - x[i] for i in range(3)]
                over = [x[i] - centre[i] - half[i] for i in range(3)]
                left = max(0, *below, *over)
                return left, ramp["from_m"] or max(left, 0.01)
        raise AssertionError(ramp)


def distance(now: dict[str, Any], a: str, b: str, axes: str) -> float:
    chosen = ["xyz".index(axis) for axis in axes]
    return math.dist([now["pos"][a][i] for i in chosen], [now["pos"][b][i] for i in chosen])


def way_to_top(now: dict[str, Any], name: str, region: str) -> float:
    """To the open top of a turned box, one axis of the box after the other; the boxes of `LAYOUT` all open upward."""
    matrix, half = now["mat"][region], now["half"][region]
    gap = [now["pos"][name][i] - now["pos"][region][i] for i in range(3)]
    along = [sum(matrix[i][j] * gap[i] for i in range(3)) for j in range(3)]
    top = max(range(3), key=lambda j: abs(matrix[2][j]))
    front = along[top] * math.copysign(1, matrix[2][top]) - half[top]
    aside = [max(abs(along[j]) - half[j], 0) for j in range(3) if j != top]
    if front > 0:
        return math.hypot(*aside, front)
    return 0.0 if not any(aside) and front >= -2 * half[top] - 0.02 else math.hypot(*aside) - front + 0.20


def half_extents(now: dict[str, Any], region: str) -> list[float]:
    matrix, half = now["mat"][region], now["half"][region]
    return [abs(sum(matrix[i][j] * half[j] for j in range(3))) for i in range(3)]


def scene_of(snapshot: Snapshot, env: int) -> dict[str, Any]:
    """One environment of a snapshot as plain nested Python values, by name."""
    objects = list(enumerate(LAYOUT.objects))
    sites = list(enumerate(LAYOUT.sites))
    return {
        "pos": {"gripper": snapshot.gripper_pos_N3[env].tolist()}
        | {name: snapshot.object_pos_NO3[env, o].tolist() for o, name in objects}
        | {name: snapshot.site_pos_NS3[env, s].tolist() for s, name in sites},
        "mat": {name: snapshot.object_mat_NO33[env, o].tolist() for o, name in objects}
        | {name: snapshot.site_mat_NS33[env, s].tolist() for s, name in sites},
        "half": {name: LAYOUT.site_half_sizes_S3[s].tolist() for s, name in sites},
        "speed": {name: float(snapshot.object_speed_NO[env, o]) for o, name in objects},
        "touch": {name: bool(snapshot.touch_NO[env, o]) for o, name in objects},
        "pads": {name: snapshot.finger_contact_NO2[env, o].tolist() for o, name in objects},
        "contact": {
            name: {other: bool(snapshot.contact_NOO[env, o, p]) for p, other in objects} for o, name in objects
        },
    }
