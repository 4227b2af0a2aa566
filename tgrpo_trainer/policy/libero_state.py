"""LIBERO's eight numbers of the robot's state, as policies trained on its data were shown them.

    proprio (12): gripper position (3), two columns of its rotation (6), fingers (2), command (1)
    state (8):    gripper position (3), axis-angle of the hand (3), fingers (2)          `tgrpo_envs.bridges.libero`

The grip site is turned by 90 degrees to the hand. An axis-angle follows the sign of a quaternion, which a rotation does
not have: LIBERO's hand points down, so its quaternion's x is near 1 or -1, and it is the positive one. It stays so
until the hand has turned by half a turn about the vertical or pointed at the horizon and beyond.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STATE_SIZE = 8


def libero_state(proprio_NP: Tensor) -> Tensor:
    """state_NP (metres, radians, metres), float32."""
    position_N3, first_N3, second_N3, fingers_N2 = torch.split(proprio_NP[:, :11].double(), [3, 3, 3, 2], dim=1)
    third_N3 = torch.linalg.cross(first_N3, second_N3)
    hand_N33 = torch.stack([second_N3, -first_N3, third_N3], dim=2)  # columns of the hand's rotation
    return torch.cat([position_N3, axis_angle(hand_N33), fingers_N2], dim=1).float()


def axis_angle(rotation_N33: Tensor) -> Tensor:
    """Rotation vectors (N, 3) of the quaternions with a positive x; angles beyond pi are left so."""
    quaternion_N4 = _quaternion(rotation_N33)
    quaternion_N4 = torch.where(quaternion_N4[:, :1] < 0.0, -quaternion_N4, quaternion_N4)
    w_N1 = quaternion_N4[:, 3:].clamp(-1.0, 1.0)
    sine_N1 = (1.0 - w_N1**2).sqrt()
    scale_N1 = torch.where(sine_N1 > 0.0, 2.0 * w_N1.acos() / sine_N1.clamp(min=1e-12), 0.0)
    return quaternion_N4[:, :3] * scale_N1


def _quaternion(rotation_N33: Tensor) -> Tensor:
    """(N, 4) in the order x, y, z, w, of either sign.

    Each row of the products' matrix is the quaternion times one of its entries; the largest loses no digits.
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(1) for row in rotation_N33.unbind(1))
    products_N44 = torch.stack(
        [
            torch.stack([1.0 + a - e - i, b + d, c + g, h - f], dim=1),
            torch.stack([b + d, 1.0 - a + e - i, f + h, c - g], dim=1),
            torch.stack([c + g, f + h, 1.0 - a - e + i, d - b], dim=1),
            torch.stack([h - f, c - g, d - b, 1.0 + a + e + i], dim=1),
        ],
        dim=1,
    )
    largest_N = products_N44.diagonal(dim1=1, dim2=2).argmax(1)
    chosen_N4 = products_N44.gather(1, largest_N[:, None, None].expand(-1, 1, 4))[:, 0]
    return nn.functional.normalize(chosen_N4, dim=1)
