"""The vocabulary the primitive pack is written in: a few kinds of shapes, the bodies and the objects made of them.

Shapes are authored standing up: z is up as the object rests, the origin is the object's body origin. Some LIBERO bodies
have their up axis along y; the generator turns the shapes into the body frame (`Item.up`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

Vector3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
Colour = tuple[float, float, float]
Axis = Literal["x", "y", "z"]
Profile = tuple[tuple[float, float], ...]

UNTURNED: Final[Quaternion] = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Shape:
    """One shape, standing up: solid or drawn, depending on where it is listed.

    Attributes:
        kind: Solid shapes are boxes and capsules; "lathe" is a surface of revolution and only drawn.
        centre_m: Centre in the standing frame; for a lathe the point where its axis has height 0.
        half_m: Half extents along x, y, z. Those of a cylinder or capsule along x and y are its radius.
        colour: RGB in 0..1; None for collision shapes, which are never drawn.
        turn: Axis and angle in degrees of a rotation about the centre.
        spin_deg: Angle of a rotation about the vertical through the centre, after `turn`.
        profile: (radius, height) points of a lathe's outline, counterclockwise from the axis back to it; metres.
    """

    kind: Literal["box", "cylinder", "ellipsoid", "capsule", "lathe"]
    centre_m: Vector3
    half_m: Vector3
    colour: Colour | None = None
    turn: tuple[Axis, float] = ("z", 0.0)
    spin_deg: float = 0.0
    profile: Profile = ()


@dataclass(frozen=True)
class Region:
    """A site that LIBERO's goals or placements read.

    Attributes:
        name: Its name in LIBERO's file.
        centre_m: Centre in the frame of its body.
        half_m: Half extents along its own axes.
        quat: Attitude in the frame of its body, w x y z.
        kind: MuJoCo's site type.
        rgba: Colour; transparent unless the site is meant to be seen.
    """

    name: str
    centre_m: Vector3
    half_m: tuple[float, ...]
    quat: Quaternion = UNTURNED
    kind: Literal["box", "cylinder"] = "box"
    rgba: Quaternion = (0.8, 0.8, 0.8, 0.0)


@dataclass(frozen=True)
class Contact:
    """How the solid shapes of a body touch others: MuJoCo's parameters of the same names."""

    friction: Vector3
    solref: tuple[float, float]
    solimp: Vector3
    margin: float = 0.0
    contype: int = 1


# The same in almost every one of LIBERO's object files.
LIBERO_CONTACT: Final = Contact((0.95, 0.3, 0.1), (0.001, 1.0), (0.998, 0.998, 0.001))
MUJOCO_CONTACT: Final = Contact((1.0, 0.005, 0.0001), (0.02, 1.0), (0.9, 0.95, 0.001))


@dataclass(frozen=True)
class Joint:
    """What a moving part can do.

    Attributes:
        name: LIBERO's name, which its goals and initial states use.
        kind: A hinge turns about the axis, a slide moves along it.
        axis: Axis in the frame of the part.
        range: Lowest and highest position, radians or metres.
        damping: Nm s/rad or Ns/m.
    """

    name: str
    kind: Literal["hinge", "slide"]
    axis: Vector3
    range: tuple[float, float]
    damping: float


@dataclass(frozen=True)
class Inertia:
    """What a body weighs where its file says so: kilograms, centre (m), moments xx yy zz xy xz yz (kg m2)."""

    mass_kg: float
    centre_m: Vector3
    moments: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Part:
    """A body inside an object: a drawer, a door, a knob, or a mere frame that LIBERO has there.

    Attributes:
        name: LIBERO's body name.
        centre_m: Its origin in the frame of the body around it.
        quat: Its attitude there, w x y z.
        joint: How it moves; None if it does not.
        mass: Kilograms spread over the solid shapes by volume, or the inertia itself; 0 for a mere frame.
        collision: Solid shapes, in MuJoCo's geom group 0.
        visual: Shapes that are drawn.
        regions: Sites.
        parts: Bodies inside this one.
        contact: How the solid shapes touch.
    """

    name: str
    centre_m: Vector3 = (0.0, 0.0, 0.0)
    quat: Quaternion = UNTURNED
    joint: Joint | None = None
    mass: float | Inertia = 0.0
    collision: tuple[Shape, ...] = ()
    visual: tuple[Shape, ...] = ()
    regions: tuple[Region, ...] = ()
    parts: tuple[Part, ...] = ()
    contact: Contact = LIBERO_CONTACT


@dataclass(frozen=True)
class Item:
    """One object or fixture: what it weighs, how it collides, how it looks, and the sites LIBERO reads.

    Attributes:
        category: LIBERO's category, which is also the file's name.
        family: Folder of the asset pack the category lives in.
        mass_kg: Mass of the body itself, without its parts; spread over the collision shapes by volume, as LIBERO's one
            density does.
        collision: Boxes, in MuJoCo's geom group 0: they touch and carry the mass.
        visual: Shapes that are drawn, in group 1.
        up: Axis of the LIBERO body that points up when the object rests upright.
        bottom_m: z of LIBERO's `bottom_site`: what placement reads, often far from the object's lowest point. Most of
            LIBERO's objects have the same three sites.
        top_m: z of LIBERO's `top_site`.
        radius_m: x of LIBERO's `horizontal_radius_site`.
        regions: Other sites of the body, such as the inside of a container.
        parts: Bodies inside this one: drawers, doors, knobs.
        contact: How the collision shapes touch.
    """

    category: str
    family: str
    mass_kg: float
    collision: tuple[Shape, ...]
    visual: tuple[Shape, ...]
    up: Literal["y", "z"] = "z"
    bottom_m: float = -0.06
    top_m: float = 0.04
    radius_m: float = 0.025
    regions: tuple[Region, ...] = ()
    parts: tuple[Part, ...] = ()
    contact: Contact = LIBERO_CONTACT


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


def block(
    centre: Vector3, half: Vector3, colour: Colour | None = None, *, turn: tuple[Axis, float] = ("z", 0.0)
) -> Shape:
    """Box by its centre and half extents, as MJCF files give it; metres."""
    return Shape("box", centre, half, colour, turn)


def lathe(profile: Profile, colour: Colour, *, at: tuple[float, float] = (0.0, 0.0)) -> Shape:
    """Surface of revolution about a vertical axis at `at`: bowls, mugs and bottles; metres."""
    return Shape("lathe", (*at, 0.0), (0.0, 0.0, 0.0), colour, profile=profile)


def ring(
    count: int,
    radius: float,
    height: float,
    half: Vector3,
    lean_deg: float,
    *,
    at: tuple[float, float] = (0.0, 0.0),
    colour: Colour | None = None,
) -> tuple[Shape, ...]:
    """Equal boxes in a circle, the walls of everything round and hollow.

    Args:
        count: Number of boxes; the first lies on the x axis.
        radius: Of the circle of their centres.
        height: z of their centres.
        half: Half extents along the radius, along the circle and upwards.
        lean_deg: Rotation about the tangent: above 0 the upper end leans outwards, below 0 the outer end is raised.
        at: Centre of the circle.
        colour: None for collision shapes.
    """
    boxes = []
    for step in range(count):
        angle = 2 * math.pi * step / count
        centre = (at[0] + radius * math.cos(angle), at[1] + radius * math.sin(angle), height)
        boxes.append(Shape("box", centre, half, colour, ("y", lean_deg), spin_deg=math.degrees(angle)))
    return tuple(boxes)


def volume(shape: Shape) -> float:
    """Volume of a box or capsule in cubic metres."""
    x, y, z = shape.half_m
    if shape.kind == "capsule":
        return math.pi * x**2 * (2 * z + 4 / 3 * x)
    return 8.0 * x * y * z
