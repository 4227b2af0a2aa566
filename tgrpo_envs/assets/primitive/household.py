"""The table of LIBERO's other things: cookies, books, bottle, pot, tray, caddy, rack and shelf; metres and kilograms.

Read off LIBERO's MJCF files (`turbosquid_objects/*/*.xml`, `stable_hope_objects/*/*.xml`): boxes are its collision
boxes, without those that lie inside others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tgrpo_envs.assets.primitive.groceries import SALAD_DRESSING
from tgrpo_envs.assets.primitive.shapes import Colour, Item, Part, Region, Shape, block, box, cylinder, lathe

_TURBOSQUID: Final = "turbosquid_objects"
# Turns of a region whose local z axis is along the x axis of its body.
_ROLLED: Final = (0.7071068, 0.0, 0.7071068, 0.0)
_ROLLED_BACK: Final = (0.7071068, 0.0, -0.7071068, 0.0)
_OVERTURNED: Final = (0.0, 0.0, 1.0, 0.0)

_PAPER: Final[Colour] = (0.90, 0.88, 0.80)
_STEEL: Final[Colour] = (0.76, 0.77, 0.78)
_BLACK: Final[Colour] = (0.07, 0.07, 0.07)
_DARK_WOOD: Final[Colour] = (0.17, 0.14, 0.12)
_CADDY_WOOD: Final[Colour] = (0.33, 0.25, 0.19)
_CRATE_WOOD: Final[Colour] = (0.62, 0.42, 0.22)


def _painted(shapes: tuple[Shape, ...], colour: Colour) -> tuple[Shape, ...]:
    """Solid shapes as they are to be drawn."""
    return tuple(replace(shape, colour=colour) for shape in shapes)


def _book(category: str, mass_kg: float, solid: Shape, cover: Colour, title: Colour) -> Item:
    """A book that stands on its lower edge: two covers along x, a spine on the side of -y, pages between."""
    (x, y, z), (half_x, half_y, half_z) = solid.centre_m, solid.half_m
    board = 0.0018
    label = block((x, y - half_y, z + 0.3 * half_z), (0.6 * half_x, 0.0006, 0.4 * half_z), title)
    return Item(
        category=category,
        family=_TURBOSQUID,
        mass_kg=mass_kg,
        collision=(solid,),
        visual=(
            block((x - half_x + board, y, z), (board, half_y, half_z), cover),
            block((x + half_x - board, y, z), (board, half_y, half_z), cover),
            block((x, y - half_y + board, z), (half_x, board, half_z), cover),
            block((x, y - 0.002, z), (half_x - 2 * board, half_y - 0.002, half_z - 0.003), _PAPER),
            label,
        ),
    )


BLACK_BOOK: Final = _book(
    "black_book", 0.04255, block((-0.0005, -0.0122, 0.0694), (0.0143, 0.0552, 0.0672)), _BLACK, (0.75, 0.75, 0.75)
)
YELLOW_BOOK: Final = _book(
    "yellow_book",
    0.02812,
    block((0.0016, 0.0001, 0.0631), (0.0118, 0.0489, 0.0611)),
    (0.90, 0.76, 0.20),
    (0.45, 0.30, 0.08),
)

COOKIES: Final = Item(
    category="cookies",
    family="stable_hope_objects",
    mass_kg=0.00964,
    collision=(box(0.0620, 0.0826, -0.0094, 0.0094),),
    visual=(
        box(0.0620, 0.0826, -0.0094, 0.0094, (0.62, 0.10, 0.08)),
        box(0.0500, 0.0360, -0.0102, 0.0102, (0.88, 0.72, 0.45), at=(0.0, -0.0140)),
        box(0.0628, 0.0130, -0.0106, 0.0106, (0.95, 0.80, 0.15), at=(0.0, 0.0250)),
    ),
)

# The same bottle as the older dressing, in a body of its own 5 cm along the bottle's axis.
NEW_SALAD_DRESSING: Final = replace(
    SALAD_DRESSING,
    category="new_salad_dressing",
    mass_kg=0.0,
    collision=(),
    visual=(),
    parts=(
        Part(
            "sald_dressing_body",
            centre_m=(0.0, 0.05, 0.0),
            mass=SALAD_DRESSING.mass_kg,
            collision=SALAD_DRESSING.collision,
            visual=SALAD_DRESSING.visual,
        ),
    ),
)

WINE_BOTTLE: Final = Item(
    category="wine_bottle",
    family=_TURBOSQUID,
    mass_kg=0.01539,
    collision=(
        box(0.0300, 0.0300, 0.0011, 0.0735),
        box(0.0396, 0.0164, 0.0035, 0.0631),
        box(0.0164, 0.0396, 0.0035, 0.0631),
        box(0.0236, 0.0236, 0.0735, 0.0881),
        box(0.0160, 0.0160, 0.0881, 0.1000),
        box(0.0142, 0.0104, 0.0477, 0.1581),
        box(0.0104, 0.0142, 0.0477, 0.1581),
    ),
    visual=(
        lathe(
            (
                (0.0, 0.0),
                (0.0210, 0.0),
                (0.0210, 0.0700),
                (0.0170, 0.0850),
                (0.0080, 0.0980),
                (0.0073, 0.1300),
                (0.0, 0.1300),
            ),
            (0.05, 0.09, 0.05),
        ),
        cylinder(0.0214, 0.0150, 0.0520, (0.86, 0.82, 0.70)),
        cylinder(0.0080, 0.1200, 0.1581, (0.45, 0.05, 0.08)),
    ),
)

_MOKA_HANDLE: Final = (
    block((0.0, 0.0416, 0.0525), (0.0102, 0.0072, 0.0137)),
    block((0.0, 0.0583, 0.0603), (0.0066, 0.0141, 0.0070)),
    block((0.0, 0.0755, 0.0539), (0.0066, 0.0141, 0.0070), turn=("x", -40.8)),
    block((0.0, 0.0725, 0.0282), (0.0066, 0.0071, 0.0275), turn=("x", -26.9)),
    block((0.0, 0.0576, 0.0023), (0.0066, 0.0071, 0.0101), turn=("x", -44.6)),
)
_MOKA_KNOB: Final = block((0.0, -0.0013, 0.0743), (0.0052, 0.0060, 0.0114))
MOKA_POT: Final = Item(
    category="moka_pot",
    family=_TURBOSQUID,
    mass_kg=0.06824,
    collision=(
        box(0.0500, 0.0655, -0.0662, 0.0670, at=(0.0, 0.0018)),
        block((0.0300, 0.0133, 0.0004), (0.0042, 0.0172, 0.0666), turn=("z", 24.0)),
        block((-0.0293, -0.0133, 0.0004), (0.0042, 0.0172, 0.0666), turn=("z", 24.0)),
        block((0.0300, -0.0133, 0.0004), (0.0042, 0.0172, 0.0666), turn=("z", -24.0)),
        block((-0.0293, 0.0133, 0.0004), (0.0042, 0.0172, 0.0666), turn=("z", -24.0)),
        block((0.0, -0.0359, 0.0426), (0.0176, 0.0058, 0.0245)),
        block((0.0, -0.0491, 0.0462), (0.0080, 0.0072, 0.0137)),
        *_MOKA_HANDLE,
        _MOKA_KNOB,
    ),
    visual=(
        lathe(((0.0, -0.0666), (0.0385, -0.0666), (0.0320, -0.0090), (0.0, -0.0090)), _STEEL),
        lathe(((0.0, -0.0090), (0.0350, -0.0090), (0.0350, 0.0010), (0.0, 0.0010)), (0.62, 0.63, 0.64)),
        lathe(((0.0, 0.0010), (0.0290, 0.0010), (0.0375, 0.0590), (0.0120, 0.0660), (0.0, 0.0660)), _STEEL),
        block((0.0, -0.0420, 0.0470), (0.0090, 0.0130, 0.0120), _STEEL, turn=("x", -20.0)),
        *_painted(_MOKA_HANDLE, _BLACK),
        _painted((_MOKA_KNOB,), _BLACK)[0],
    ),
)

_TRAY_WALLS: Final = (
    block((-0.1392, -0.0055, 0.0299), (0.0023, 0.0778, 0.0246)),
    block((0.1532, -0.0055, 0.0299), (0.0023, 0.0778, 0.0246)),
    block((0.0078, -0.0845, 0.0332), (0.1440, 0.0023, 0.0294)),
    block((0.0078, 0.0758, 0.0312), (0.1440, 0.0023, 0.0284)),
    block((-0.1335, -0.0049, 0.0797), (0.0067, 0.0786, 0.0012)),
    block((0.1471, -0.0049, 0.0797), (0.0067, 0.0786, 0.0012)),
    block((-0.1321, 0.0681, 0.0408), (0.0062, 0.0055, 0.0392)),
    block((-0.1321, -0.0785, 0.0408), (0.0062, 0.0055, 0.0392)),
    block((0.1453, -0.0785, 0.0408), (0.0062, 0.0055, 0.0392)),
    block((0.1453, 0.0689, 0.0408), (0.0062, 0.0055, 0.0392)),
)
# Three boards with gaps, and the two that join them below.
_TRAY_FLOOR: Final = (
    block((0.0078, -0.0056, 0.0035), (0.1440, 0.0246, 0.0036)),
    block((0.0078, 0.0538, 0.0036), (0.1440, 0.0209, 0.0036)),
    block((0.0078, -0.0642, 0.0035), (0.1440, 0.0209, 0.0036)),
    block((0.1472, -0.0042, 0.0022), (0.0054, 0.0776, 0.0023)),
    block((-0.1310, -0.0042, 0.0029), (0.0054, 0.0776, 0.0023)),
)
WOODEN_TRAY: Final = Item(
    category="wooden_tray",
    family=_TURBOSQUID,
    mass_kg=0.05715,
    collision=(*_TRAY_WALLS, *_TRAY_FLOOR),
    visual=(*_painted(_TRAY_WALLS, _CRATE_WOOD), *_painted(_TRAY_FLOOR, (0.52, 0.34, 0.17))),
    regions=(Region("contain_region", (0.00863, -0.00471, 0.04255), (0.04038, 0.07839, 0.13549), _ROLLED),),
)

_CADDY_FLOOR: Final = block((0.0, 0.0, 0.0076), (0.0755, 0.2169, 0.0062))
_CADDY_WALLS: Final = (
    block((0.0, -0.0680, 0.0850), (0.0706, 0.0062, 0.0824)),
    block((0.0, -0.2094, 0.0850), (0.0706, 0.0062, 0.0824)),
    block((0.0668, 0.0, 0.0868), (0.0040, 0.2098, 0.0815)),
    block((-0.0016, 0.0, 0.0552), (0.0040, 0.0668, 0.0434)),
    block((-0.0669, 0.0, 0.0395), (0.0040, 0.2098, 0.0346)),
    block((-0.0669, -0.1398, 0.0877), (0.0040, 0.0766, 0.0796)),
)
# Two side walls of one outline: low in front, rising to the back.
_CADDY_SIDES: Final = tuple(
    wall
    for y in (0.0706, 0.2084)
    for wall in (
        block((0.0, y, 0.0452), (0.0706, 0.0036, 0.0333)),
        block((0.0345, y, 0.0748), (0.0299, 0.0036, 0.0368)),
        block((0.0549, y, 0.1236), (0.0114, 0.0036, 0.0188)),
        block((0.0, y, 0.0945), (0.0706, 0.0036, 0.0209), turn=("y", -34.9)),
        block((0.0420, y, 0.1387), (0.0279, 0.0036, 0.0114), turn=("y", -35.1)),
    )
)
DESK_CADDY: Final = Item(
    category="desk_caddy",
    family=_TURBOSQUID,
    mass_kg=0.27796,
    collision=(_CADDY_FLOOR, *_CADDY_WALLS, *_CADDY_SIDES),
    visual=(
        _painted((_CADDY_FLOOR,), (0.20, 0.15, 0.12))[0],
        *_painted((*_CADDY_WALLS, *_CADDY_SIDES), _CADDY_WOOD),
    ),
    regions=(
        Region("right_contain_region", (0.00631, -0.14339, 0.06558), (0.06196, 0.06216, 0.06046), _OVERTURNED),
        Region("left_contain_region", (0.00631, 0.14551, 0.06558), (0.06196, 0.06216, 0.06046), _OVERTURNED),
        Region("back_contain_region", (0.03364, -0.00064, 0.08558), (0.02775, 0.06216, 0.06046), _OVERTURNED),
        Region(
            "front_contain_region",
            (-0.03102, -0.00064, 0.04054),
            (0.02775, 0.03595, 0.06216),
            (0.0, 0.0, 0.7071068, -0.7071068),
        ),
    ),
)

_RACK_PLANES: Final = (
    block((0.0, -0.0061, 0.2512), (0.1344, 0.0789, 0.0045), turn=("x", 31.3)),
    block((0.0, -0.0427, 0.1273), (0.1344, 0.0789, 0.0045), turn=("x", 31.3)),
)
_RACK_STOPPERS: Final = (
    block((0.0, -0.0748, 0.2207), (0.1322, 0.0011, 0.0087), turn=("x", 29.3)),
    block((0.0, -0.1091, 0.0974), (0.1322, 0.0011, 0.0087), turn=("x", 29.3)),
)
_RACK_STAND: Final = (
    box(0.1330, 0.1860, 0.0021, 0.0111),
    block((0.0, 0.0694, 0.0101), (0.0900, 0.0600, 0.0045), turn=("x", -7.5)),
    block((0.0, -0.0643, 0.0126), (0.0900, 0.0600, 0.0045), turn=("x", 8.0)),
    box(0.1808, 0.0282, 0.0160, 0.0250),
    block((0.0, 0.0089, 0.1703), (0.0076, 0.0091, 0.1616), turn=("x", -15.8)),
)
WINE_RACK: Final = Item(
    category="wine_rack",
    family=_TURBOSQUID,
    mass_kg=0.15275,
    collision=(*_RACK_PLANES, *_RACK_STOPPERS, *_RACK_STAND),
    visual=(
        *_painted(_RACK_PLANES, (0.78, 0.60, 0.42)),
        *(
            # Grooves for the bottles, along the slope.
            block((x, -0.0061, 0.2512), (0.0060, 0.0760, 0.0050), (0.55, 0.38, 0.24), turn=("x", 31.3))
            for x in (-0.09, -0.03, 0.03, 0.09)
        ),
        *_painted((*_RACK_STOPPERS, *_RACK_STAND), (0.28, 0.12, 0.08)),
    ),
    regions=(
        Region("top_region", (0.0, -0.08003, 0.21745), (0.10087, 0.02200, 0.00251), (0.8549119, -0.5187733, 0.0, 0.0)),
    ),
)

_SHELF_BOARDS: Final = (
    block((-0.1538, 0.0162, 0.1046), (0.0071, 0.0954, 0.1044)),
    block((0.1631, 0.0162, 0.1046), (0.0071, 0.0954, 0.1044)),
    block((0.0029, 0.1094, 0.1046), (0.1633, 0.0023, 0.1044)),
    block((0.0052, 0.0187, 0.0700), (0.1532, 0.0894, 0.0008)),
    block((0.0050, 0.0164, 0.2082), (0.1756, 0.0951, 0.0021)),
)
WOODEN_TWO_LAYER_SHELF: Final = Item(
    category="wooden_two_layer_shelf",
    family=_TURBOSQUID,
    mass_kg=0.20633,
    collision=_SHELF_BOARDS,
    visual=(
        *_painted(_SHELF_BOARDS, _DARK_WOOD),
        block((0.0052, -0.0715, 0.0700), (0.1532, 0.0010, 0.0030), (0.30, 0.25, 0.21)),
    ),
    regions=(
        Region("top_side", (0.00496, 0.01567, 0.20688), (0.17557, 0.09438, 0.00147)),
        Region("top_region", (0.00538, 0.01687, 0.13672), (0.06739, 0.08564, 0.15093), _ROLLED_BACK),
        Region("bottom_region", (0.00555, 0.01687, 0.01407), (0.03528, 0.08564, 0.15580), _ROLLED),
    ),
)

ITEMS: Final[tuple[Item, ...]] = (
    BLACK_BOOK,
    COOKIES,
    DESK_CADDY,
    MOKA_POT,
    NEW_SALAD_DRESSING,
    WINE_BOTTLE,
    WINE_RACK,
    WOODEN_TRAY,
    WOODEN_TWO_LAYER_SHELF,
    YELLOW_BOOK,
)
