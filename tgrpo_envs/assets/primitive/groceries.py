"""The table of LIBERO-Object's ten groceries and the basket: dimensions in metres, masses in kilograms.

Read off LIBERO's MJCF files (`stable_hope_objects/*/*.xml`, `stable_scanned_objects/basket/basket.xml`): extents are
those of the collision boxes, masses those that LIBERO's density of 100 kg/m3 gives its overlapping boxes. Where LIBERO
builds a can from two dozen boxes, three do here; nothing is scaled to make a task easier.
"""

from __future__ import annotations

from typing import Final

from tgrpo_envs.assets.primitive.shapes import Colour, Item, Region, Shape, box, cylinder, ellipsoid

_SILVER: Final[Colour] = (0.78, 0.80, 0.82)
_WHITE: Final[Colour] = (0.95, 0.95, 0.93)
_RED: Final[Colour] = (0.80, 0.08, 0.06)
_BLUE: Final[Colour] = (0.12, 0.28, 0.72)
_GREEN: Final[Colour] = (0.05, 0.48, 0.16)
_YELLOW: Final[Colour] = (0.98, 0.80, 0.12)

_HOPE: Final = "stable_hope_objects"
_SCANNED: Final = "stable_scanned_objects"

# A label stands this far off the surface it is stuck on: enough that the depth buffer never confuses the two.
_LABEL: Final = 0.0008
# The strips that round a can off end this much short of its ends: a standing can touches the floor with one box.
_STRIP_GAP: Final = 0.0005


def _can_collision(radius: float, bottom: float, top: float, *, axis_y: float) -> tuple[Shape, ...]:
    """A square prism and two crossed strips: together the convex outline is a regular octagon around the radius.

    Boxes rather than a cylinder because MuJoCo gives two boxes up to eight contact points, a box and a cylinder one,
    and a can held between two finger pads at one point each turns in the hand.
    """
    at = (0.0, axis_y)
    square = radius * 2**0.5  # inscribed: its corners lie on the circle
    strip = 2 * radius * (2**0.5 - 1)  # side of the regular octagon whose inscribed circle has this radius
    low, high = bottom + _STRIP_GAP, top - _STRIP_GAP
    return (
        box(square, square, bottom, top, at=at),
        box(2 * radius, strip, low, high, at=at),
        box(strip, 2 * radius, low, high, at=at),
    )


def _can_visual(
    radius: float, bottom: float, top: float, *, axis_y: float, label: Colour, band: Colour, band_z: tuple[float, float]
) -> tuple[Shape, ...]:
    """A silver can with a label all round and one band of a second colour."""
    at = (0.0, axis_y)
    return (
        cylinder(radius - 2 * _LABEL, bottom, top, _SILVER, at=at),
        cylinder(radius - _LABEL, bottom + 0.004, top - 0.004, label, at=at),
        cylinder(radius, *band_z, band, at=at),
    )


def _carton_collision() -> tuple[Shape, ...]:
    """LIBERO's milk and orange juice share one carton: a square box and a ridge along x."""
    return (box(0.0525, 0.0525, -0.0697, 0.0398), box(0.0525, 0.0180, 0.0398, 0.0614))


def _carton_visual(body: Colour, foot: Colour, roof: Colour, label: Colour) -> tuple[Shape, ...]:
    """A gable-topped carton: foot, body, a label on all four sides, two roof panels and the seam on the ridge."""
    panel = (0.0262, 0.0159, 0.0010)
    slope_deg = 34.7
    return (
        box(0.0525, 0.0525, -0.0697, -0.0400, foot),
        box(0.0525, 0.0525, -0.0400, 0.0398, body),
        box(0.0525 + 2 * _LABEL, 0.0525 + 2 * _LABEL, -0.0180, 0.0220, label),
        # The gable ends under the roof are steps: a triangle is not among the shapes.
        box(0.0520, 0.0360, 0.0398, 0.0455, body),
        box(0.0520, 0.0180, 0.0455, 0.0515, body),
        Shape("box", (0.0, -0.0131, 0.0485), panel, roof, turn=("x", slope_deg)),
        Shape("box", (0.0, 0.0131, 0.0485), panel, roof, turn=("x", -slope_deg)),
        box(0.0525, 0.0030, 0.0515, 0.0614, roof),
    )


ALPHABET_SOUP: Final = Item(
    category="alphabet_soup",
    family=_HOPE,
    up="y",
    mass_kg=0.02585,
    collision=_can_collision(0.0312, -0.0384, 0.0376, axis_y=0.0030),
    visual=_can_visual(0.0312, -0.0384, 0.0376, axis_y=0.0030, label=_BLUE, band=_YELLOW, band_z=(-0.0344, -0.0140)),
    bottom_m=-0.04,
)

TOMATO_SAUCE: Final = Item(
    category="tomato_sauce",
    family=_HOPE,
    up="y",
    mass_kg=0.02663,
    collision=_can_collision(0.0312, -0.0384, 0.0376, axis_y=0.0030),
    visual=_can_visual(0.0312, -0.0384, 0.0376, axis_y=0.0030, label=_RED, band=_GREEN, band_z=(-0.0080, 0.0120)),
)

MILK: Final = Item(
    category="milk",
    family=_HOPE,
    up="y",
    mass_kg=0.03167,
    collision=_carton_collision(),
    visual=_carton_visual(body=_WHITE, foot=(0.10, 0.16, 0.42), roof=_WHITE, label=_RED),
    radius_m=0.03,
)

ORANGE_JUICE: Final = Item(
    category="orange_juice",
    family=_HOPE,
    up="y",
    mass_kg=0.03167,
    collision=_carton_collision(),
    visual=_carton_visual(body=(1.0, 0.52, 0.02), foot=(1.0, 0.52, 0.02), roof=(1.0, 0.60, 0.10), label=_GREEN),
)

KETCHUP: Final = Item(
    category="ketchup",
    family=_HOPE,
    up="y",
    mass_kg=0.02322,
    collision=(
        box(0.0562, 0.0348, -0.0724, -0.0063),
        box(0.0479, 0.0367, -0.0063, 0.0150),
        box(0.0373, 0.0367, 0.0150, 0.0364),
        box(0.0330, 0.0350, 0.0364, 0.0732),
    ),
    visual=(
        box(0.0540, 0.0330, -0.0724, -0.0150, _RED),
        ellipsoid(0.0550, 0.0350, -0.0750, 0.0480, _RED),
        box(0.0562, 0.0355, -0.0520, -0.0180, _WHITE),
        cylinder(0.0160, 0.0330, 0.0732, _WHITE),
    ),
)

SALAD_DRESSING: Final = Item(
    category="salad_dressing",
    family=_HOPE,
    up="y",
    mass_kg=0.02178,
    collision=(
        box(0.0400, 0.0346, -0.0727, -0.0620),
        box(0.0527, 0.0346, -0.0620, -0.0050, at=(-0.0010, 0.0)),
        box(0.0290, 0.0310, -0.0050, 0.0356),
        box(0.0350, 0.0350, 0.0356, 0.0728),
    ),
    visual=(
        cylinder(0.0170, -0.0727, -0.0550, _WHITE),
        ellipsoid(0.0520, 0.0350, -0.0720, 0.0150, _WHITE),
        ellipsoid(0.0540, 0.0370, -0.0600, 0.0000, (0.55, 0.78, 0.12)),
        cylinder(0.0135, -0.0100, 0.0360, _WHITE),
        cylinder(0.0172, 0.0356, 0.0728, _GREEN),
    ),
)

BBQ_SAUCE: Final = Item(
    category="bbq_sauce",
    family=_HOPE,
    mass_kg=0.01218,
    collision=(
        box(0.0470, 0.0289, -0.0546, -0.0023),
        box(0.0362, 0.0286, -0.0023, 0.0257),
        box(0.0270, 0.0270, 0.0257, 0.0525),
    ),
    visual=(
        box(0.0450, 0.0275, -0.0546, -0.0100, (0.22, 0.07, 0.03)),
        ellipsoid(0.0460, 0.0285, -0.0530, 0.0330, (0.22, 0.07, 0.03)),
        box(0.0470, 0.0295, -0.0400, -0.0120, (0.90, 0.62, 0.10)),
        cylinder(0.0130, 0.0200, 0.0525, (0.85, 0.22, 0.02)),
    ),
    top_m=0.06,
    radius_m=0.015,
)

BUTTER: Final = Item(
    category="butter",
    family=_HOPE,
    mass_kg=0.00525,
    collision=(box(0.0762, 0.0395, -0.0087, 0.0087),),
    visual=(
        box(0.0762, 0.0395, -0.0087, 0.0087, _YELLOW),
        box(0.0300, 0.0395 + 2 * _LABEL, -0.0087, 0.0087 + _LABEL, (0.88, 0.30, 0.05)),
    ),
    bottom_m=-0.02,
    top_m=0.02,
    radius_m=0.02,
)

CREAM_CHEESE: Final = Item(
    category="cream_cheese",
    family=_HOPE,
    mass_kg=0.00619,
    collision=(box(0.0812, 0.0427, -0.0089, 0.0089),),
    visual=(
        box(0.0812, 0.0427, -0.0089, 0.0089, (0.80, 0.86, 0.95)),
        box(0.0420, 0.0427 + 2 * _LABEL, -0.0089, 0.0089 + _LABEL, _BLUE),
        box(0.0240, 0.0150, 0.0089, 0.0089 + 2 * _LABEL, _WHITE),
    ),
    bottom_m=-0.025,
    top_m=0.025,
    radius_m=0.03,
)

CHOCOLATE_PUDDING: Final = Item(
    category="chocolate_pudding",
    family=_HOPE,
    mass_kg=0.01019,
    collision=(box(0.0802, 0.0463, -0.0131, 0.0143, at=(-0.0005, 0.0)),),
    visual=(
        box(0.0802, 0.0463, -0.0131, 0.0143, (0.30, 0.14, 0.08), at=(-0.0005, 0.0)),
        box(0.0160, 0.0463 + 2 * _LABEL, -0.0131, 0.0143 + _LABEL, (0.95, 0.78, 0.62), at=(-0.0185, 0.0)),
        box(0.0080, 0.0463 + 2 * _LABEL, -0.0131, 0.0143 + _LABEL, (0.75, 0.10, 0.22), at=(0.0215, 0.0)),
    ),
)


def _basket_walls(colour: Colour | None) -> tuple[Shape, ...]:
    """Bottom and four walls that lean outwards by 2.6 to 4.3 degrees."""
    along_x, along_y = (0.00667, 0.07240, 0.06368), (0.07240, 0.00667, 0.06368)
    return (
        box(0.1532, 0.1448, 0.0046, 0.0216, colour, at=(0.0025, 0.0)),
        Shape("box", (-0.0727, 0.0, 0.0766), along_x, colour, turn=("y", -4.3)),
        Shape("box", (0.0756, 0.0, 0.0766), along_x, colour, turn=("y", 2.9)),
        Shape("box", (0.0, -0.0686, 0.0818), along_y, colour, turn=("x", 2.6)),
        Shape("box", (0.0, 0.0691, 0.0818), along_y, colour, turn=("x", -2.6)),
    )


BASKET: Final = Item(
    category="basket",
    family=_SCANNED,
    mass_kg=0.13611,
    collision=_basket_walls(None),
    visual=_basket_walls((0.72, 0.52, 0.26)),
    # Half a turn about z, as LIBERO has it: its reader of regions insists on a quaternion.
    regions=(Region("contain_region", (0.0, 0.0, 0.07185), (0.06108, 0.06108, 0.06949), (0.0, 0.0, 0.0, 1.0)),),
)

ITEMS: Final[tuple[Item, ...]] = (
    ALPHABET_SOUP,
    BASKET,
    BBQ_SAUCE,
    BUTTER,
    CHOCOLATE_PUDDING,
    CREAM_CHEESE,
    KETCHUP,
    MILK,
    ORANGE_JUICE,
    SALAD_DRESSING,
    TOMATO_SAUCE,
)
