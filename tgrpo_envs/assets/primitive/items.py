"""All objects and fixtures of the pack, by category: the one table of what LIBERO's things measure and weigh."""

from __future__ import annotations

from typing import Final

import numpy as np

from tgrpo_envs.assets.primitive import crockery, fixtures, groceries, household
from tgrpo_envs.assets.primitive.meshes import attitude, rotation_matrix
from tgrpo_envs.assets.primitive.shapes import Item

_ALL: Final = (*groceries.ITEMS, *crockery.ITEMS, *household.ITEMS, *fixtures.ITEMS)
ITEMS: Final[dict[str, Item]] = {item.category: item for item in _ALL}


def reach(item: Item) -> tuple[float, float]:
    """How far an object's boxes reach below and above its body's origin as it rests upright, metres."""
    up = "xyz".index(item.up)
    bodies = [(item.collision, 0.0), *((part.collision, part.centre_m[up]) for part in item.parts)]
    ends = []
    for shapes, origin in bodies:
        for shape in shapes:
            half = float(np.abs(rotation_matrix(attitude(shape))[2]) @ shape.half_m)
            ends += [origin + shape.centre_m[2] - half, origin + shape.centre_m[2] + half]
    return -min(ends), max(ends)
