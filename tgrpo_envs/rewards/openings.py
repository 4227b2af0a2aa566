"""Which way regions open: through which side things get in, and how far in front of it they are.

LIBERO's files give boxes, not openings. Most boxes open upward: baskets, trays, caddies, drawers. Those that open to
the front do so against the y axis of their region's frame, in both asset packs.
"""

from __future__ import annotations

import numpy as np

from tgrpo_envs.rewards.handles import split_part
from tgrpo_envs.sim.snapshot import FloatArray

FRONT = frozenset(
    {
        ("microwave", "heating_region"),
        ("wooden_two_layer_shelf", "top_region"),
        ("wooden_two_layer_shelf", "bottom_region"),
    }
)
"""Category of the fixture and region."""

BACK_SLACK_M = 0.02  # LIBERO lets an origin be 1 cm below a box's floor
DETOUR_M = 0.20  # from beside or behind an opening: out to 10 cm in front of it and back; more than any word's limit


def opens_to_front(region: str) -> bool:
    """Whether things get into the region from its front; else from above."""
    _, category, name = split_part(region)
    return (category, name) in FRONT


def way_to_opening(
    point_N3: FloatArray, centre_N3: FloatArray, mat_N33: FloatArray, half_3: FloatArray, *, to_front: bool
) -> FloatArray:
    """How far a point still has to go to be in a box's opening; (N,), metres.

    In front of the opening it is the distance to its rectangle, and nothing for a point in the box. A point beside, on
    or behind the box is no nearer for that: it has to come back around the edge.

    Args:
        point_N3: The points.
        centre_N3: Middles of the boxes.
        mat_N33: Their rotations.
        half_3: Half extents along their own axes.
        to_front: Whether the boxes open against their y axis; else on the side that looks up.
    """
    offset_N3 = np.einsum("nji,nj->ni", mat_N33, point_N3 - centre_N3)  # in the boxes' frames
    out_N3 = np.zeros_like(offset_N3)
    if to_front:
        out_N3[:, 1] = -1.0
    else:  # the side that looks up
        rows, axis_N = np.arange(len(mat_N33)), np.abs(mat_N33[:, 2]).argmax(axis=1)
        out_N3[rows, axis_N] = np.sign(mat_N33[rows, 2, axis_N])
    depth_N = np.add.reduce(half_3 * np.abs(out_N3), axis=1)
    front_N = np.add.reduce(offset_N3 * out_N3, axis=1) - depth_N
    aside_N3 = np.maximum(np.abs(offset_N3) - half_3, 0.0) * (out_N3 == 0.0)
    aside_N = np.sqrt(np.add.reduce(aside_N3 * aside_N3, axis=1))
    around_N = aside_N - front_N + DETOUR_M
    ahead_N = np.sqrt(aside_N * aside_N + front_N * front_N)
    within_N = (aside_N == 0.0) & (front_N >= -2.0 * depth_N - BACK_SLACK_M)
    past_N: FloatArray = np.where(within_N, 0.0, around_N)
    way_N: FloatArray = np.where(front_N > 0.0, ahead_N, past_N)
    return way_N
