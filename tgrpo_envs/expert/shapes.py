"""The table of sizes and grasps of each category, which the scripted expert plans with; metres, body frame.

Lengths were measured on LIBERO's collision geometry; the primitive pack has the same dimensions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from tgrpo_envs.errors import UnknownNameError

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """One category, standing the way LIBERO puts it down; lengths in metres from the body's origin.

    Attributes:
        below: From the origin down to the lowest point.
        above: From the origin up to the highest point.
        radius: Of the upright cylinder that stands for the object as an obstacle.
        grip_height: Of the grip site above the origin in a grasp.
        up_axis: Body axis that points up.
        closing_axis: Body axis along which the fingers close.
        yaws: Further turns of the fingers about the vertical that still hold, radians.
        slides: Further places along the horizontal axis across `closing_axis` (on a rim: the turned one) that hold.
        hold: Point of the body, above or below which the fingers close.
        rim: How far from `hold` along the turned closing axis: the radius at which a bowl's wall is taken.
        middle: Centre of the outline seen from above, which is put where the object should go.
    """

    below: float
    above: float
    radius: float
    grip_height: float
    up_axis: Vector
    closing_axis: Vector
    yaws: tuple[float, ...] = (0.0,)
    slides: tuple[float, ...] = (0.0,)
    hold: Vector = (0.0, 0.0, 0.0)
    rim: float = 0.0
    middle: Vector = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Disc:
    """An upright cylinder that stands for a thing, or for a part of it, as an obstacle.

    Attributes:
        at: Where it stands, from the body's origin.
        radius: Its radius.
        above: Height of its top over the origin.
        joint: As in `Block`.
    """

    at: tuple[float, float]
    radius: float
    above: float
    joint: str | None = None


@dataclass(frozen=True)
class Block:
    """An upright box that stands for a large thing as an obstacle.

    Attributes:
        centre: Horizontal, from the body's origin.
        half: Half extents along the body's x and y.
        above: Height of its top over the origin.
        joint: Sliding joint, along the body's y, with which it moves; its name without the fixture's.
    """

    centre: tuple[float, float]
    half: tuple[float, float]
    above: float
    joint: str | None = None


def _degrees(*angles: float) -> tuple[float, ...]:
    return tuple(float(np.radians(angle)) for angle in angles)


X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
ANY_YAW = _degrees(0, -15, 15, -30, 30, -45, 45, -60, 60, 90)
FLAT_YAWS, FLAT_SLIDES = _degrees(0, -12, 12, -24, 24), (0.0, -0.01, 0.01, -0.02, 0.02)
BOTTLE_YAWS = _degrees(0, -15, 15, -30, 30, 90)
# Places on a rim: all round, or off the handle, which is at +x or -x of the mug.
ALL_ROUND = _degrees(*range(0, 360, 15))
RIM_SLIDES = (0.0, -0.015, 0.015)
OFF_FRONT = _degrees(*range(60, 301, 15))
OFF_BACK = _degrees(*range(-120, 121, 15))

SHAPES: dict[str, Shape] = {
    "alphabet_soup": Shape(0.038, 0.038, 0.034, 0.012, Y, X, ANY_YAW),
    "tomato_sauce": Shape(0.038, 0.038, 0.034, 0.012, Y, X, ANY_YAW),
    "cream_cheese": Shape(0.009, 0.009, 0.041, 0.000, Z, Y, FLAT_YAWS, FLAT_SLIDES),
    "butter": Shape(0.009, 0.009, 0.038, 0.000, Z, Y, FLAT_YAWS, FLAT_SLIDES),
    "chocolate_pudding": Shape(0.013, 0.014, 0.041, 0.000, Z, Y, FLAT_YAWS, FLAT_SLIDES),
    "salad_dressing": Shape(0.073, 0.073, 0.027, 0.046, Y, X, BOTTLE_YAWS),
    # The same bottle, its origin 5 cm further down.
    "new_salad_dressing": Shape(0.023, 0.123, 0.027, 0.096, Y, X, BOTTLE_YAWS),
    "ketchup": Shape(0.072, 0.073, 0.029, 0.046, Y, X, BOTTLE_YAWS),
    "bbq_sauce": Shape(0.055, 0.052, 0.024, 0.030, Z, X, BOTTLE_YAWS),
    "milk": Shape(0.070, 0.061, 0.031, 0.040, Y, X, BOTTLE_YAWS),
    "orange_juice": Shape(0.070, 0.061, 0.031, 0.040, Y, X, BOTTLE_YAWS),
    "basket": Shape(0.000, 0.146, 0.100, 0.140, Z, X),
    "akita_black_bowl": Shape(0.000, 0.053, 0.055, 0.038, Z, X, ALL_ROUND, RIM_SLIDES, rim=0.049),
    "white_bowl": Shape(0.000, 0.035, 0.042, 0.025, Z, X, ALL_ROUND, rim=0.037),
    "glazed_rim_porcelain_ramekin": Shape(0.000, 0.043, 0.045, 0.033, Z, X, ALL_ROUND, rim=0.041),
    "plate": Shape(0.000, 0.016, 0.072, 0.009, Z, X, ALL_ROUND, rim=0.050),
    "porcelain_mug": Shape(
        0.000, 0.108, 0.045, 0.094, Z, X, OFF_BACK, hold=(0.0155, -0.0012, 0.0), rim=0.040, middle=(0.008, 0.0, 0.0)
    ),
    "red_coffee_mug": Shape(
        0.000, 0.131, 0.045, 0.116, Z, X, OFF_FRONT, hold=(-0.0177, -0.0015, 0.0), rim=0.038, middle=(-0.009, 0.0, 0.0)
    ),
    "white_yellow_mug": Shape(
        0.000, 0.104, 0.050, 0.091, Z, X, OFF_FRONT, hold=(-0.0182, -0.0005, 0.0), rim=0.046, middle=(-0.009, 0.0, 0.0)
    ),
    "chefmate_8_frypan": Shape(0.000, 0.052, 0.105, 0.046, Z, Y, (0.0,), FLAT_SLIDES, hold=(0.165, 0.0, 0.0)),
    "moka_pot": Shape(0.067, 0.086, 0.050, 0.076, Z, X, ANY_YAW),
    "wine_bottle": Shape(0.000, 0.158, 0.022, 0.125, Z, X, ANY_YAW),
    "black_book": Shape(
        0.000, 0.137, 0.057, 0.122, Z, X, FLAT_YAWS, FLAT_SLIDES, hold=(0.0, -0.0122, 0.0), middle=(0.0, -0.0122, 0.0)
    ),
    "yellow_book": Shape(0.000, 0.124, 0.050, 0.110, Z, X, FLAT_YAWS, FLAT_SLIDES),
    "cookies": Shape(0.010, 0.010, 0.052, 0.000, Z, X, FLAT_YAWS, FLAT_SLIDES),
}

# A cabinet with its handles in front, and its drawers.
CABINET = (
    Block((0.0035, 0.000), (0.128, 0.110), 0.223),
    Block((0.0035, -0.020), (0.110, 0.090), 0.216, "top_level"),
    Block((0.0035, -0.020), (0.110, 0.090), 0.147, "middle_level"),
    Block((0.0035, -0.020), (0.110, 0.090), 0.079, "bottom_level"),
)
DRAWER_DEPTH_M = 0.08
BLOCKS: dict[str, tuple[Block, ...]] = {
    "wooden_cabinet": CABINET,
    "white_cabinet": CABINET,
    "microwave": (Block((0.0, 0.0), (0.173, 0.111), 0.187),),
    "flat_stove": (Block((0.15, 0.0), (0.095, 0.095), 0.026), Block((0.0, 0.0), (0.048, 0.048), 0.050)),
    "wine_rack": (Block((0.0, 0.0), (0.134, 0.110), 0.330),),
    "wooden_two_layer_shelf": (Block((0.005, 0.016), (0.176, 0.095), 0.210),),
    "desk_caddy": (Block((0.0, 0.0), (0.076, 0.217), 0.170),),
    "wooden_tray": (Block((0.008, -0.005), (0.147, 0.084), 0.081),),
}

# Side of the cells into which a block is cut, each of which becomes a disc, and the disc's excess over the cell.
CELL_M, CORNER = 0.06, 1.15


def category_of(instance: str) -> str:
    """The category of a BDDL instance such as ``alphabet_soup_1``."""
    return re.sub(r"_\d+$", "", instance)


def owner_of(name: str) -> str:
    """The instance in ``wooden_cabinet_1_top_region``."""
    parts = name.split("_")
    number = next(index for index, part in enumerate(parts) if part.isdigit())
    return "_".join(parts[: number + 1])


def without_number(name: str) -> str:
    """A name with its instance's number left out: ``wooden_cabinet_top_region``."""
    return "_".join(part for part in name.split("_") if not part.isdigit())


def shape_of(instance: str) -> Shape:
    """The table's row for a BDDL instance such as ``alphabet_soup_1``.

    Raises:
        UnknownNameError: The table has no such category.
    """
    category = category_of(instance)
    if category not in SHAPES:
        raise UnknownNameError("object category for the scripted expert", category, SHAPES)
    return SHAPES[category]


def discs_of(instance: str) -> list[Disc]:
    """What stands for a thing as an obstacle.

    Raises:
        UnknownNameError: Neither table has its category.
    """
    category = category_of(instance)
    if category not in BLOCKS:
        shape = shape_of(instance)
        return [Disc(shape.middle[:2], shape.radius, shape.above)]
    return [disc for block in BLOCKS[category] for disc in _cells(block)]


def _cells(block: Block) -> list[Disc]:
    (x, y), counts = block.centre, [max(1, round(2 * half / CELL_M)) for half in block.half]
    half_x, half_y = (half / count for half, count in zip(block.half, counts, strict=True))
    return [
        Disc(
            (x + half_x * (2 * i + 1 - counts[0]), y + half_y * (2 * j + 1 - counts[1])),
            CORNER * max(half_x, half_y),
            block.above,
            block.joint,
        )
        for i in range(counts[0])
        for j in range(counts[1])
    ]
