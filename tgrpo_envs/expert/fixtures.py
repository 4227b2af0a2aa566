"""The table of fixtures: how each drawer, door and knob is moved; metres and radians."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tgrpo_envs.expert.shapes import Vector, X, Z, category_of, owner_of, without_number


@dataclass(frozen=True)
class Motion:
    """How one part of a fixture is moved; vectors in the fixture's frame with the joint at 0, metres and radians.

    Attributes:
        joint: Name of the joint without the fixture's.
        goal: Joint position to reach.
        enough: Joint position that need not be moved on: LIBERO's threshold.
        lead: How far ahead of the joint the hand is sent; its sign is the motion's direction.
        contact: Where the grip site should be at the part.
        entry: Where it comes from, relative to `contact`.
        pointing: Direction in which the fingers point.
        opening: Direction in which they open.
        grips: Whether they close on the part; else they stay closed and push.
        slide: Direction of a sliding joint, or None for a hinge about the vertical.
        pivot: Where the axis of a hinge stands.
    """

    joint: str
    goal: float
    enough: float
    lead: float
    contact: Vector
    entry: Vector
    pointing: Vector
    opening: Vector
    grips: bool
    slide: Vector | None = None
    pivot: Vector = (0.0, 0.0, 0.0)


def _tilted(degrees: float) -> tuple[float, float, float]:
    """Pointing down and, by this angle from it, towards +y: into a fixture whose front faces -y."""
    angle = math.radians(degrees)
    return 0.0, math.sin(angle), -math.cos(angle)


# Height of a cabinet's handles.
HANDLES_M = {"top": 0.184, "middle": 0.110, "bottom": 0.041}


def _drawer_open(level: str) -> Motion:
    return Motion(
        f"{level}_level", -0.150, -0.140, -0.035, (-0.003, -0.099, HANDLES_M[level]), (0.0, -0.08, 0.0),
        _tilted(75), Z, grips=True, slide=(0.0, 1.0, 0.0),
    )  # fmt: skip


def _drawer_close(level: str) -> Motion:
    return Motion(
        f"{level}_level", 0.001, 0.0, 0.04, (-0.003, -0.122, HANDLES_M[level]), (0.0, -0.06, 0.05),
        _tilted(45), X, grips=False, slide=(0.0, 1.0, 0.0),
    )  # fmt: skip


HINGE = (-0.1725, -0.088, 0.0)
KNOB_POINT, ABOVE_KNOB = (0.0, 0.0, 0.038), (0.0, 0.0, 0.07)
MOTIONS: dict[tuple[str, str], Motion] = {
    ("turnon", "flat_stove"): Motion(
        "button", 0.55, 0.50, 0.4, KNOB_POINT, ABOVE_KNOB, _tilted(0), (0.0, 1.0, 0.0), grips=True
    ),
    ("turnoff", "flat_stove"): Motion(
        "button", -0.001, 0.0, -0.4, KNOB_POINT, ABOVE_KNOB, _tilted(0), (0.0, 1.0, 0.0), grips=True
    ),
    ("close", "microwave"): Motion(
        "microjoint",
        -0.004,
        -0.005,
        0.25,
        (0.065, -0.168, 0.12),
        (0.0, -0.06, 0.10),
        _tilted(0),
        X,
        grips=False,
        pivot=HINGE,
    ),
    **{
        (verb, f"{colour}_cabinet_{level}_region"): make(level)
        for verb, make in (("open", _drawer_open), ("close", _drawer_close))
        for colour in ("wooden", "white")
        for level in HANDLES_M
        if (verb, level) != ("open", "bottom")  # the hand would have to reach into the table
    },
}


def motion_of(predicate: str, name: str) -> Motion | None:
    """How a predicate of a fixture, or of the part a region belongs to, is brought about; None where it cannot be."""
    return MOTIONS.get((predicate, without_number(name))) or MOTIONS.get((predicate, category_of(owner_of(name))))
