"""Openings: which regions have one in front, and the way to it from every side, with numbers worked out by hand."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from tgrpo_envs.rewards.entities import resolve
from tgrpo_envs.rewards.openings import DETOUR_M, opens_to_front, way_to_opening
from tgrpo_envs.rewards.quantities import position
from tgrpo_envs.scene import load_scene, sample_train_states
from tgrpo_envs.sim.simulator import Simulator
from tgrpo_envs.tasks import get_task

HALF_3 = np.array([0.12, 0.08, 0.06])  # a box that is 24 cm wide, 16 cm deep and 12 cm high


@pytest.mark.parametrize(
    ("point", "way"),
    [
        ((0.0, -0.13, 0.0), 0.05),  # straight in front
        ((0.10, -0.08, -0.05), 0.0),  # in a corner of the opening
        ((0.15, -0.12, 0.0), 0.05),  # in front, 3 cm beside it: 3-4-5
        ((0.0, 0.07, 0.0), 0.0),  # passed through
        ((0.0, 0.0, 0.10), 0.04 + 0.08 + DETOUR_M),  # on top: 4 cm over the edge, 8 cm behind it
        ((0.16, -0.07, 0.0), 0.04 + 0.01 + DETOUR_M),  # beside it, hardly behind the front
        ((0.0, 0.30, 0.0), 0.38 + DETOUR_M),  # behind it
    ],
)
@pytest.mark.parametrize("yaw", [0.0, 1.1, np.pi])
def test_the_way_to_a_front(point: tuple[float, float, float], way: float, yaw: float) -> None:
    cos, sin = np.cos(yaw), np.sin(yaw)
    turned_33 = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    centre_3 = np.array([0.4, -0.2, 1.0])
    found_N = way_to_opening(
        (centre_3 + turned_33 @ point)[None], centre_3[None], turned_33[None], HALF_3, to_front=True
    )
    np.testing.assert_allclose(found_N, [way], atol=1e-9)


def test_the_way_to_a_top_is_that_of_the_side_that_looks_up() -> None:
    """A box that lies with its y axis down, half as high as it is deep; what is under it is not at its opening."""
    down_33 = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # rows are the world's axes
    points_N3 = np.array([[0.0, 0.0, 0.13], [0.11, 0.05, -0.07], [0.0, 0.0, -0.11], [0.15, 0.0, 0.0]])
    mats_N33 = np.broadcast_to(down_33, (4, 3, 3))
    found_N = way_to_opening(points_N3, np.zeros((4, 3)), mats_N33, HALF_3, to_front=False)
    np.testing.assert_allclose(found_N, [0.05, 0.0, 0.19 + DETOUR_M, 0.03 + 0.08 + DETOUR_M])


def test_microwaves_and_shelves_open_to_the_front() -> None:
    fronts = ("microwave_1_heating_region", "wooden_two_layer_shelf_1_top_region")
    tops = ("basket_1_contain_region", "wooden_cabinet_1_top_region", "wooden_two_layer_shelf_1_top_side")
    assert all(map(opens_to_front, fronts))
    assert not any(map(opens_to_front, tops))


def test_a_front_is_on_the_side_of_the_handle() -> None:
    """In the built scene the microwave's handle is in front of its opening, and its own middle is not."""
    scene = load_scene(get_task("libero_10", 9), "primitive")
    layout = scene.layout
    with closing(Simulator(scene, 1, num_threads=1)) as simulator:
        simulator.reset(sample_train_states(scene, np.random.default_rng(0), 1), np.array([True]))
        now = simulator.snapshot
    now.joint_qpos_NJ[:] = 0.0  # shut
    handle, row = resolve("microwave_1_handle", layout, "the test"), layout.site_row("microwave_1_heating_region")
    box = now.site_pos_NS3[:, row], now.site_mat_NS33[:, row], layout.site_half_sizes_S3[row]
    behind_N3 = 2 * box[0] - position(now, handle)
    assert 0.0 < way_to_opening(position(now, handle), *box, to_front=True)[0] < 0.15
    assert way_to_opening(behind_N3, *box, to_front=True)[0] > DETOUR_M
