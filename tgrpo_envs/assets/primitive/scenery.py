"""What stands around in LIBERO's rooms and is only drawn: tables, kitchen units, shelves, a plant; metres, in the room.

Places and outer sizes are those of LIBERO's meshes; the shapes are plain.
"""

from __future__ import annotations

from typing import Final

from tgrpo_envs.assets.primitive.shapes import Colour, Shape, block, box, cylinder, lathe

_LIGHT_WOOD: Final[Colour] = (0.78, 0.71, 0.64)
_DARK_WOOD: Final[Colour] = (0.32, 0.21, 0.16)
_DESK_WOOD: Final[Colour] = (0.74, 0.53, 0.29)
_STEEL: Final[Colour] = (0.42, 0.42, 0.43)
_BLACK: Final[Colour] = (0.08, 0.08, 0.08)
_WHITE: Final[Colour] = (0.93, 0.93, 0.91)
_GREEN: Final[Colour] = (0.24, 0.42, 0.14)

# Under the corners of LIBERO's table of 1.0 by 1.2 m, whose top begins at 0.85 m.
TABLE_LEGS: Final = tuple(cylinder(0.025, 0.0, 0.85, _LIGHT_WOOD, at=(x, y)) for x in (-0.4, 0.4) for y in (-0.5, 0.5))

# The top is an oval; its upper side is where the collision boxes end.
LIVING_ROOM_TABLE: Final = (
    Shape("cylinder", (-0.239, 0.041, 0.424), (0.598, 0.900, 0.0127), _DARK_WOOD),
    Shape("cylinder", (-0.239, 0.041, 0.395), (0.560, 0.860, 0.0170), (0.18, 0.11, 0.08)),
    box(0.80, 0.84, 0.0, 0.38, (0.16, 0.10, 0.07), at=(-0.25, 0.25)),
)

DESK: Final = (
    block((0.0, 0.0, 0.84929), (0.68946, 1.39273, 0.03584), _DESK_WOOD),
    *(box(0.04, 0.10, 0.0, 0.81, _BLACK, at=(x, y)) for x in (-0.50, 0.50) for y in (-0.70, 0.71)),
    box(1.02, 0.10, 0.0, 0.045, _BLACK, at=(0.0, 0.71)),
    box(1.02, 0.10, 0.0, 0.045, _BLACK, at=(0.0, -0.70)),
)

KITCHEN: Final = (
    # Fridge, counter with doors, stove with a pot, cupboards on the wall.
    box(0.44, 0.87, 0.0, 1.774, _STEEL, at=(-1.75, -2.40)),
    box(0.03, 0.03, 0.90, 1.50, _WHITE, at=(-1.52, -2.05)),
    box(0.60, 3.60, 0.0, 0.86, (0.60, 0.55, 0.45), at=(-1.68, 0.20)),
    box(0.64, 3.64, 0.86, 0.90, (0.70, 0.68, 0.63), at=(-1.67, 0.20)),
    box(0.50, 0.62, 0.90, 0.93, _BLACK, at=(-1.66, 0.10)),
    cylinder(0.10, 0.93, 1.07, _STEEL, at=(-1.55, 0.26)),
    cylinder(0.09, 0.90, 1.02, (0.20, 0.20, 0.22), at=(-1.80, -0.85)),
    box(0.36, 3.60, 1.75, 2.35, (0.60, 0.55, 0.45), at=(-1.80, 0.20)),
)

LIVING_ROOM: Final = (
    # A wall unit with a screen, and a picture.
    box(0.40, 2.40, 0.0, 0.38, (0.52, 0.43, 0.35), at=(-1.72, 0.0)),
    box(0.06, 1.30, 0.42, 1.10, _BLACK, at=(-1.78, 0.0)),
    block((-1.97, 1.60, 1.45), (0.02, 0.43, 0.50), (0.62, 0.58, 0.54)),
)

# A leaf of the plant: a narrow board that leans out of the trunk's top.
_LEAVES: Final = tuple(
    Shape("box", (x, y, z), (0.028, 0.004, 0.30), _GREEN, turn=("y", lean), spin_deg=spin)
    for x, y, z, lean, spin in (
        (-1.70, 0.70, 0.92, 42.0, 60.0),
        (-1.92, 0.66, 0.90, 42.0, 130.0),
        (-1.66, 0.50, 0.88, 48.0, 0.0),
        (-1.95, 0.46, 0.92, 40.0, 200.0),
        (-1.80, 0.38, 0.90, 44.0, 270.0),
        (-1.82, 0.58, 1.02, 12.0, 90.0),
    )
)
STUDY: Final = (
    # Open shelves of 1.2 m, two books on them, a picture, a plant in its pot, a lamp.
    box(0.02, 1.22, 0.0, 1.79, _WHITE, at=(-1.86, -0.995)),
    *(box(0.31, 0.03, 0.0, 1.79, _WHITE, at=(-1.715, y)) for y in (-1.59, -0.995, -0.40)),
    *(box(0.31, 1.22, z, z + 0.03, _WHITE, at=(-1.715, -0.995)) for z in (0.05, 0.48, 0.89, 1.32, 1.76)),
    box(0.19, 0.045, 0.92, 1.15, _BLACK, at=(-1.72, -0.50)),
    box(0.19, 0.045, 0.92, 1.15, _BLACK, at=(-1.72, -0.45)),
    block((-1.93, 0.50, 1.49), (0.02, 0.49, 0.49), (0.30, 0.20, 0.10)),
    block((-1.90, 0.50, 1.49), (0.02, 0.40, 0.40), (0.72, 0.62, 0.40)),
    lathe(((0.0, 0.0), (0.10, 0.0), (0.14, 0.30), (0.0, 0.30)), (0.80, 0.80, 0.80), at=(-1.82, 0.55)),
    cylinder(0.025, 0.30, 0.75, (0.40, 0.30, 0.18), at=(-1.82, 0.55)),
    *_LEAVES,
)
