"""Handles, and the words about drawers, doors and knobs, beside the compiled models they describe."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from tests.helpers.reward_cases import make_spec
from tgrpo_envs.errors import SpecError, UnknownNameError
from tgrpo_envs.rewards import CreditProfile, StageTracker
from tgrpo_envs.rewards.handles import find_handle, handle_names, handle_position, part_joints, split_part
from tgrpo_envs.scene import InitStates, Scene, load_scene, official_states
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import get_task

ONE = np.ones(1, dtype=bool)
DRAWER = "wooden_cabinet_1_top_region"


def at(scene: Scene, positions: dict[int, float]) -> InitStates:
    """The first official state with fixture joints, by row, moved to these positions."""
    init = official_states(scene).take(np.array([0]))
    for row, position in positions.items():
        init.states_NX[0, 1 + scene.record.joints[row].qpos_address] = position
    return init


@pytest.fixture(scope="module")
def kitchen() -> Scene:
    return load_scene(get_task("libero_goal", 0), "primitive")  # a cabinet, a stove


@pytest.fixture(scope="module")
def microwave() -> Scene:
    return load_scene(get_task("libero_10", 9), "primitive")


@pytest.mark.parametrize(
    ("part", "taken_apart"),
    [
        ("wooden_cabinet_1_top_region", ("wooden_cabinet_1", "wooden_cabinet", "top_region")),
        ("microwave_1", ("microwave_1", "microwave", "")),
        ("chefmate_8_frypan_1", ("chefmate_8_frypan_1", "chefmate_8_frypan", "")),
        ("gripper", ("gripper", "gripper", "")),
    ],
)
def test_a_part_s_name_is_taken_apart(part: str, taken_apart: tuple[str, str, str]) -> None:
    assert split_part(part) == taken_apart


def bars(scene: Scene, body: str) -> np.ndarray:
    """Middles of a body's collision shapes in the world, from MuJoCo."""
    model = scene.model
    own = [g for g in range(model.ngeom) if model.geom_bodyid[g] == model.body(body).id and model.geom_group[g] == 0]
    return np.array(own)


@pytest.mark.parametrize("position", [-0.16, -0.05, 0.0])
@pytest.mark.parametrize("level", ["top", "middle", "bottom"])
def test_a_drawer_s_handle_is_the_middle_of_its_bar(kitchen: Scene, level: str, position: float) -> None:
    part = f"wooden_cabinet_1_{level}_region"
    (joint,), handle = part_joints(part, kitchen.layout), find_handle(part)
    assert handle is not None
    with closing(Simulator(kitchen, 1)) as simulator:
        simulator.reset(at(kitchen, {joint: position}), ONE, settle=False)
        fixture = kitchen.layout.object_row("wooden_cabinet_1")
        ours = handle_position(handle, fixture, joint, simulator.snapshot)[0]
        shapes = simulator.datas[0].geom_xpos[bars(kitchen, f"wooden_cabinet_1_cabinet_{level}")]
    assert np.linalg.norm(shapes - ours, axis=1).min() < 2e-3


@pytest.mark.parametrize("angle", [-2.0, -1.0, 0.0])
def test_the_microwave_s_handle_turns_with_its_door(microwave: Scene, angle: float) -> None:
    handle = find_handle("microwave_1")
    assert handle is not None
    with closing(Simulator(microwave, 1)) as simulator:
        simulator.reset(at(microwave, {0: angle}), ONE, settle=False)
        row = microwave.layout.object_row("microwave_1")
        ours = handle_position(handle, row, 0, simulator.snapshot)[0]
        shapes = simulator.datas[0].geom_xpos[bars(microwave, "microwave_1_microdoorroot")]
    assert np.linalg.norm(shapes - ours, axis=1).min() < 1e-6


def test_the_handles_of_a_scene_are_those_of_its_moving_parts(kitchen: Scene, microwave: Scene) -> None:
    drawers = {f"wooden_cabinet_1_{level}_region_handle" for level in ("top", "middle", "bottom")}
    assert set(handle_names(kitchen.layout)) == drawers | {"flat_stove_1_handle"}
    assert handle_names(microwave.layout) == ("microwave_1_handle",)


def pull(scene: Scene, positions: list[float], min_frac: float = 0.5) -> tuple[list[float], list[bool]]:
    """Progress and truth of "opened half way" as the top drawer goes through these positions."""
    spec = make_spec(
        [
            {
                "id": "open",
                "effort": 1,
                "ramp": {"op": "actuate", "a": DRAWER, "toward": "open"},
                "done": {"op": "actuated", "a": DRAWER, "toward": "open", "min_frac": min_frac},
                "latch": "live",
            },
        ]
    )
    tracker = StageTracker(spec, CreditProfile(), scene.layout, 1, 100)
    progress, done = [], []
    (joint,) = part_joints(DRAWER, scene.layout)
    with closing(Simulator(scene, 1)) as simulator:
        for step, position in enumerate(positions):
            simulator.reset(at(scene, {joint: position}), ONE, settle=False)
            if step == 0:
                tracker.reset(simulator.snapshot, np.zeros((1, 1), dtype=bool), ONE)
                continue
            report = tracker.step(simulator.snapshot, np.zeros((1, 1), dtype=bool), ONE, np.array([step]))
            progress.append(float(report.progress_N[0]))
            done.append(bool(report.stages_NK[0, 0]))
    return progress, done


def test_opening_a_drawer_pays_by_the_way_to_libero_s_threshold(kitchen: Scene) -> None:
    """From 0 to LIBERO's -0.14 m: a quarter of the way is -0.035 m, worth 0.9 of a quarter."""
    progress, done = pull(kitchen, [0.0, 0.005, -0.035, -0.0699, -0.0701, -0.06])
    assert progress == pytest.approx([0.0, 0.225, 0.9 * 0.0699 / 0.14, 1.0, 0.9 * 0.06 / 0.14])
    assert done == [False, False, False, True, False]


def test_the_way_is_measured_from_where_the_joint_is_at_reset(kitchen: Scene) -> None:
    progress, _ = pull(kitchen, [-0.10, -0.11])  # 4 cm to go, 1 cm gone
    assert progress == pytest.approx([0.9 * 0.25])


@pytest.mark.parametrize(
    ("condition", "error", "words"),
    [
        ({"op": "actuated", "a": "wooden_cabinet_1", "toward": "open", "min_frac": 0.5}, SpecError, "has 3"),
        ({"op": "actuated", "a": "flat_stove_1", "toward": "open", "min_frac": 0.5}, SpecError, "no state 'open'"),
        ({"op": "actuated", "a": "plate_1", "toward": "open", "min_frac": 0.5}, SpecError, "is a movable"),
        ({"op": "near", "a": "gripper", "b": "plate_1_handle", "within_m": 0.1}, UnknownNameError, "plate_1_handle"),
        ({"op": "touching", "a": "flat_stove_1_handle"}, SpecError, "is a handle"),
    ],
)
def test_what_cannot_move_is_refused(
    kitchen: Scene, condition: dict[str, Any], error: type[Exception], words: str
) -> None:
    spec = make_spec([{"id": "only", "effort": 1, "done": condition}])
    with pytest.raises(error, match=words):
        StageTracker(spec, CreditProfile(), kitchen.layout, 1, 100)
