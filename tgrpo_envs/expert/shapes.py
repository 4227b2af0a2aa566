"""How the scripted expert takes each category, and what stands in its way; metres, body frame.

Heights are those of the primitive pack, which has LIBERO's dimensions; the rest was measured on LIBERO's collision
geometry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tgrpo_envs.assets.primitive.items import ITEMS, reach
from tgrpo_envs.errors import UnknownNameError

Vector = tuple[float, float, float]

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
STANDS_M = 0.0025  # a body whose lowest point is this near its origin, or above it, stands on its origin


@dataclass(frozen=True)
class Shape:
    """One category, standing the way LIBERO puts it down; lengths in metres from the body's origin.

    Attributes:
        category: LIBERO's category.
        radius: Of the upright cylinder that stands for the object as an obstacle.
        grip_height: Of the grip site above the origin in a grasp.
        closing_axis: Body axis along which the fingers close.
        yaws: Further turns of the fingers about the vertical that still hold, radians.
        slides: Further places along the horizontal axis across `closing_axis` (on a rim: the turned one) that hold.
        hold: Point of the body, above or below which the fingers close.
        rim: How far from `hold` along the turned closing axis: the radius at which a bowl's wall is taken.
        middle: Centre of the outline seen from above, which is put where the object should go.
        measured: `below` and `above` on LIBERO's boxes, where the primitive pack's simpler ones end elsewhere.
    """

    category: str
    radius: float
    grip_height: float
    closing_axis: Vector
    yaws: tuple[float, ...] = (0.0,)
    slides: tuple[float, ...] = (0.0,)
    hold: Vector = (0.0, 0.0, 0.0)
    rim: float = 0.0
    middle: Vector = (0.0, 0.0, 0.0)
    measured: tuple[float, float] | None = None

    @property
    def below(self) -> float:
        """From the origin down to the lowest point; 0 for what stands on its origin."""
        return self._reach[0]

    @property
    def above(self) -> float:
        """From the origin up to the highest point."""
        return self._reach[1]

    @property
    def up_axis(self) -> Vector:
        """Body axis that points up."""
        return Y if ITEMS[self.category].up == "y" else Z

    @cached_property
    def _reach(self) -> tuple[float, float]:
        below, above = self.measured or reach(ITEMS[self.category])
        return round(below, 3) if below > STANDS_M else 0.0, round(above, 3)


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


ANY_YAW = _degrees(0, -15, 15, -30, 30, -45, 45, -60, 60, 90)
FLAT_YAWS, FLAT_SLIDES = _degrees(0, -12, 12, -24, 24), (0.0, -0.01, 0.01, -0.02, 0.02)
BOTTLE_YAWS = _degrees(0, -15, 15, -30, 30, 90)
# Places on a rim: all round, or off the handle, which is at +x or -x of the mug.
ALL_ROUND = _degrees(*range(0, 360, 15))
RIM_SLIDES = (0.0, -0.015, 0.015)
OFF_FRONT = _degrees(*range(60, 301, 15))
OFF_BACK = _degrees(*range(-120, 121, 15))

_ALL = (
    Shape("alphabet_soup", 0.034, 0.012, X, ANY_YAW),
    Shape("tomato_sauce", 0.034, 0.012, X, ANY_YAW),
    Shape("cream_cheese", 0.041, 0.000, Y, FLAT_YAWS, FLAT_SLIDES),
    Shape("butter", 0.038, 0.000, Y, FLAT_YAWS, FLAT_SLIDES),
    Shape("chocolate_pudding", 0.041, 0.000, Y, FLAT_YAWS, FLAT_SLIDES),
    Shape("salad_dressing", 0.027, 0.046, X, BOTTLE_YAWS),
    # The same bottle, its origin 5 cm further down.
    Shape("new_salad_dressing", 0.027, 0.096, X, BOTTLE_YAWS),
    Shape("ketchup", 0.029, 0.046, X, BOTTLE_YAWS),
    Shape("bbq_sauce", 0.024, 0.030, X, BOTTLE_YAWS),
    Shape("milk", 0.031, 0.040, X, BOTTLE_YAWS),
    Shape("orange_juice", 0.031, 0.040, X, BOTTLE_YAWS),
    Shape("basket", 0.100, 0.140, X),
    Shape("akita_black_bowl", 0.055, 0.038, X, ALL_ROUND, RIM_SLIDES, rim=0.049, measured=(0.000, 0.053)),
    Shape("white_bowl", 0.042, 0.025, X, ALL_ROUND, rim=0.037),
    Shape("glazed_rim_porcelain_ramekin", 0.045, 0.033, X, ALL_ROUND, rim=0.041),
    Shape("plate", 0.072, 0.009, X, ALL_ROUND, rim=0.050),
    Shape("porcelain_mug", 0.045, 0.094, X, OFF_BACK, hold=(0.0155, -0.0012, 0.0), rim=0.040, middle=(0.008, 0.0, 0.0)),
    Shape(
        "red_coffee_mug", 0.045, 0.116, X, OFF_FRONT, hold=(-0.0177, -0.0015, 0.0), rim=0.038, middle=(-0.009, 0.0, 0.0)
    ),
    Shape(
        "white_yellow_mug",
        0.050,
        0.091,
        X,
        OFF_FRONT,
        hold=(-0.0182, -0.0005, 0.0),
        rim=0.046,
        middle=(-0.009, 0.0, 0.0),
        measured=(0.000, 0.104),
    ),
    Shape("chefmate_8_frypan", 0.105, 0.046, Y, (0.0,), FLAT_SLIDES, hold=(0.165, 0.0, 0.0), measured=(0.000, 0.052)),
    Shape("moka_pot", 0.050, 0.076, X, ANY_YAW, measured=(0.067, 0.086)),
    Shape("wine_bottle", 0.022, 0.125, X, ANY_YAW),
    Shape("black_book", 0.057, 0.122, X, FLAT_YAWS, FLAT_SLIDES, hold=(0.0, -0.0122, 0.0), middle=(0.0, -0.0122, 0.0)),
    Shape("yellow_book", 0.050, 0.110, X, FLAT_YAWS, FLAT_SLIDES),
    Shape("cookies", 0.052, 0.000, X, FLAT_YAWS, FLAT_SLIDES, measured=(0.010, 0.010)),
)
SHAPES = {shape.category: shape for shape in _ALL}

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
    """The instance in ``wooden_cabinet_1_top_region``; a name without a number is its own."""
    parts = name.split("_")
    number = next((index for index, part in enumerate(parts) if part.isdigit()), len(parts))
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
