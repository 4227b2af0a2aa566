"""The table of places: where and how things are put on or in each kind of support; metres."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tgrpo_envs.expert.shapes import Vector, X, Z, without_number


@dataclass(frozen=True)
class Place:
    """Where an object goes; heights are of its underside over the reference, metres.

    Attributes:
        reference: Object or region.
        rim: Height to clear before coming near; a little below the top of what `shapes.BLOCKS` has as an obstacle, so
            that it is passed over.
        rest: Height at which it comes to rest; None for that of the surface it was picked from.
        release: Height at which it is let go; None for a little over `rest`.
        over: How close its middle must be, horizontally, before it is lowered.
        offset: From the reference, in its frame; horizontal.
        via: From the final place to where the object is lowered first, to be slid in from there; horizontal.
        align: Axis of the reference along which the fingers, or the object's own `axis`, are turned; None for no turn.
        axis: Axis of the object that is turned along `align`; None for the fingers' opening.
        whole_turn: Whether the axis' sign matters.
        max_below: A thing whose origin is further over its underside would stand above the region.
        max_above: A thing that rises further over its origin has no room.
    """

    reference: str
    rim: float
    rest: float | None
    release: float | None = None
    over: float = 0.012
    offset: Vector = (0.0, 0.0, 0.0)
    via: Vector = (0.0, 0.0, 0.0)
    align: Vector | None = None
    axis: Vector | None = None
    whole_turn: bool = False
    max_below: float = math.inf
    max_above: float = math.inf


# Where things go, by the category of what they are put on; `plan` fills in the reference.
ON_OBJECTS: dict[str, Place] = {
    "plate": Place("", rim=0.016, rest=0.007),
    "akita_black_bowl": Place("", rim=0.055, rest=0.020, release=0.045),
}
# By the ending of a region's name.
CADDY_OVER_M = 0.006
DRAWER = Place("", rim=0.029, rest=-0.0265, offset=(0.0, -0.015, 0.0), align=Z, max_below=0.055)
# Pans go into a shelf from its front, the handle last.
SHELF = Place(
    "", rim=0.030, rest=None, offset=(0.0, -0.040, 0.0), via=(0.0, -0.220, 0.0),
    align=(0.0, -1.0, 0.0), axis=X, whole_turn=True,
    max_above=0.060,
)  # fmt: skip
REGIONS: dict[str, Place] = {
    "basket_contain_region": Place("", rim=0.079, rest=-0.060, release=0.079, over=0.045),
    "wooden_tray_contain_region": Place("", rim=0.035, rest=-0.035, over=0.020),
    "flat_stove_cook_region": Place("", rim=0.030, rest=0.0255),
    "wooden_cabinet_top_side": Place("", rim=-0.005, rest=0.0015),
    "white_cabinet_top_side": Place("", rim=-0.005, rest=0.0015),
    "wooden_two_layer_shelf_top_region": replace(SHELF, rest=-0.060),
    "wooden_two_layer_shelf_bottom_region": replace(SHELF, rest=-0.030),
    "wooden_two_layer_shelf_top_side": Place("", rim=-0.005, rest=0.0035),
    **{
        f"{colour}_cabinet_{level}_region": DRAWER
        for colour in ("wooden", "white")
        for level in ("top", "middle", "bottom")
    },
    "desk_caddy_left_contain_region": Place("", rim=0.090, rest=-0.051, over=CADDY_OVER_M, align=X, axis=X),
    "desk_caddy_right_contain_region": Place("", rim=0.090, rest=-0.051, over=CADDY_OVER_M, align=X, axis=X),
    "desk_caddy_front_contain_region": Place("", rim=0.120, rest=-0.026, over=CADDY_OVER_M, align=X, axis=X),
    "desk_caddy_back_contain_region": Place("", rim=0.070, rest=-0.071, over=CADDY_OVER_M, align=X, axis=X),
}
# Zones of a table lie below its top; things keep the height they came from.
ZONE = Place("", rim=0.050, rest=None)
TABLES = ("main_table_", "kitchen_table_", "living_room_table_", "study_table_")


def place_of(name: str) -> Place | None:
    """The place on an object or in a region of this name; None where the tables have none."""
    kind = without_number(name)
    found = ZONE if name.startswith(TABLES) else ON_OBJECTS.get(kind) or REGIONS.get(kind)
    return found and replace(found, reference=name)
