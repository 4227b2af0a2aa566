"""The vocabulary the primitive pack is written in: boxes, cylinders, ellipsoids and the objects made of them.

Shapes are authored standing up: z is up as the object rests, the origin is the object's body origin. Some LIBERO bodies
have their up axis along y; the generator turns the shapes into the body frame (`Item.up`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Vector3 = tuple[float, float, float]
Colour = tuple[float, float, float]
Axis = Literal["x", "y", "z"]


@dataclass(frozen=True)
class Shape:
    """One geom, standing up.

    Attributes:
        kind: MuJoCo geom type.
        centre_m: Centre in the standing frame.
        half_m: Half extents along x, y, z. A cylinder's x and y extents are equal.
        colour: RGB in 0..1; None for collision shapes, which are never drawn.
        turn: Axis and angle in degrees of a rotation about the centre.
    """

    kind: Literal["box", "cylinder", "ellipsoid"]
    centre_m: Vector3
    half_m: Vector3
    colour: Colour | None = None
    turn: tuple[Axis, float] = ("z", 0.0)


@dataclass(frozen=True)
class Item:
    """One movable object: what it weighs, how it collides, how it looks, and the sites LIBERO reads.

    Attributes:
        category: LIBERO's category, which is also the file's name.
        family: Folder of the asset pack the category lives in.
        up: Axis of the LIBERO body that points up when the object rests upright.
        mass_kg: Total mass; spread over the collision shapes by volume, as LIBERO's one density does.
        collision: Boxes, in MuJoCo's geom group 0: they touch and carry the mass.
        visual: Shapes that are drawn, in group 1.
        bottom_m: z of LIBERO's `bottom_site`: what placement reads, often far from the object's lowest point.
        top_m: z of LIBERO's `top_site`.
        radius_m: x of LIBERO's `horizontal_radius_site`.
        contain_region: Centre and half extents of the box site that `In` tests, for containers.
    """

    category: str
    family: str
    up: Literal["y", "z"]
    mass_kg: float
    collision: tuple[Shape, ...]
    visual: tuple[Shape, ...]
    bottom_m: float
    top_m: float
    radius_m: float
    contain_region: tuple[Vector3, Vector3] | None = None


def box(
    width_x: float,
    width_y: float,
    bottom: float,
    top: float,
    colour: Colour | None = None,
    *,
    at: tuple[float, float] = (0.0, 0.0),
) -> Shape:
    """Upright box of full widths, between two heights, about a vertical axis at `at`; metres."""
    half = (width_x / 2, width_y / 2, (top - bottom) / 2)
    return Shape("box", (*at, (bottom + top) / 2), half, colour)


def cylinder(
    radius: float, bottom: float, top: float, colour: Colour | None = None, *, at: tuple[float, float] = (0.0, 0.0)
) -> Shape:
    """Upright cylinder between two heights; metres."""
    return Shape("cylinder", (*at, (bottom + top) / 2), (radius, radius, (top - bottom) / 2), colour)


def ellipsoid(
    width_x: float,
    width_y: float,
    bottom: float,
    top: float,
    colour: Colour,
    *,
    at: tuple[float, float] = (0.0, 0.0),
) -> Shape:
    """Ellipsoid of full widths between two heights; metres."""
    half = (width_x / 2, width_y / 2, (top - bottom) / 2)
    return Shape("ellipsoid", (*at, (bottom + top) / 2), half, colour)


def box_volume(shape: Shape) -> float:
    """Volume of a box in cubic metres."""
    x, y, z = shape.half_m
    return 8.0 * x * y * z
