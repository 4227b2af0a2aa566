"""The table of LIBERO's crockery: bowls, plate, ramekin, mugs and frying pan; metres and kilograms.

Read off LIBERO's MJCF files (`stable_scanned_objects/*/*.xml`, `turbosquid_objects/*mug/*.xml`). Walls are rings of
boxes as they are there, with the same radius, thickness and lean, in a smaller number of wider boxes; rims are as thin
and as high, so that a gripper takes them in the same way.
"""

from __future__ import annotations

from typing import Final

from tgrpo_envs.assets.primitive.shapes import Colour, Item, Profile, Shape, block, box, cylinder, lathe, ring

_SCANNED: Final = "stable_scanned_objects"
_TURBOSQUID: Final = "turbosquid_objects"

_WHITE: Final[Colour] = (0.94, 0.94, 0.92)
_BLACK: Final[Colour] = (0.09, 0.09, 0.10)
_YELLOW: Final[Colour] = (0.87, 0.75, 0.28)
_RED: Final[Colour] = (0.66, 0.06, 0.07)


def _shell(outer: Profile, wall: float, floor: float) -> Profile:
    """Outline of something hollow: its outside from the foot to the rim, then the inside back down."""
    foot = outer[0][1]
    inner = tuple((radius - wall, max(height, foot + floor)) for radius, height in reversed(outer))
    return ((0.0, foot), *outer, *inner, (0.0, foot + floor))


def _crossed(
    half_x: float, half_y: float, corner_x: float, corner_y: float, z: tuple[float, float], at: tuple[float, float]
) -> tuple[Shape, Shape]:
    """A round foot as two crossed boxes: one as wide as the foot, one as deep."""
    return (
        box(2 * half_x, 2 * corner_y, *z, at=at),
        box(2 * corner_x, 2 * half_y, *z, at=at),
    )


AKITA_BLACK_BOWL: Final = Item(
    category="akita_black_bowl",
    family=_SCANNED,
    mass_kg=0.00559,
    collision=(
        *_crossed(0.0229, 0.0235, 0.0162, 0.0155, (0.0016, 0.0068), (0.0, 0.0)),
        *ring(12, 0.0335, 0.0098, (0.0119, 0.0105, 0.0007), -30.0),
        *ring(12, 0.0470, 0.0337, (0.0013, 0.0133, 0.0188), 14.7),
    ),
    visual=(
        lathe(_shell(((0.0235, 0.0016), (0.0425, 0.0150), (0.0535, 0.0522)), 0.0026, 0.0052), _BLACK),
        # A glaze that lets the hollow be seen from above.
        lathe(((0.0, 0.0070), (0.0225, 0.0070), (0.0385, 0.0170), (0.0, 0.0078)), (0.24, 0.24, 0.26)),
    ),
)

WHITE_BOWL: Final = Item(
    category="white_bowl",
    family=_SCANNED,
    mass_kg=0.002086,
    collision=(
        box(0.0346, 0.0330, 0.0006, 0.0042),
        *ring(12, 0.0238, 0.0070, (0.0085, 0.0076, 0.0005), -30.0),
        *ring(12, 0.0356, 0.0226, (0.0010, 0.0103, 0.0127), 16.5),
    ),
    visual=(
        lathe(_shell(((0.0165, 0.0006), (0.0320, 0.0105), (0.0402, 0.0350)), 0.0022, 0.0036), _WHITE),
        lathe(((0.0, 0.0044), (0.0150, 0.0044), (0.0280, 0.0118), (0.0, 0.0050)), (0.80, 0.80, 0.79)),
    ),
)

GLAZED_RIM_PORCELAIN_RAMEKIN: Final = Item(
    category="glazed_rim_porcelain_ramekin",
    family=_SCANNED,
    mass_kg=0.00966,
    collision=(
        *_crossed(0.0319, 0.0304, 0.0244, 0.0244, (0.0009, 0.0073), (0.0, 0.0)),
        *_crossed(0.0366, 0.0366, 0.0121, 0.0121, (0.0009, 0.0073), (0.0, 0.0)),
        *ring(12, 0.0382, 0.0217, (0.0026, 0.0115, 0.0208), 8.6),
    ),
    visual=(
        lathe(_shell(((0.0375, 0.0009), (0.0435, 0.0395)), 0.0052, 0.0064), (0.80, 0.81, 0.82)),
        lathe(((0.0383, 0.0390), (0.0438, 0.0390), (0.0443, 0.0427), (0.0388, 0.0427)), (0.42, 0.40, 0.40)),
    ),
)

PLATE: Final = Item(
    category="plate",
    family=_SCANNED,
    mass_kg=0.01152,
    collision=(
        box(0.0570, 0.0612, 0.0009, 0.0053),
        *ring(8, 0.0483, 0.0070, (0.0191, 0.0285, 0.0025), -19.5),
    ),
    visual=(
        lathe(_shell(((0.0310, 0.0009), (0.0655, 0.0125), (0.0686, 0.0158)), 0.0040, 0.0044), _WHITE),
        # The line under the rim, all round.
        lathe(((0.0610, 0.0154), (0.0650, 0.0168), (0.0610, 0.0162)), (0.72, 0.28, 0.20)),
    ),
)

_PAN_AT: Final = (0.0073, -0.0006)
_PAN_HANDLE: Final = (
    block((0.1926, 0.0, 0.0441), (0.0665, 0.0127, 0.0062), turn=("y", -7.4)),
    block((0.1126, 0.0036, 0.0199), (0.0123, 0.0104, 0.0105), turn=("y", -12.0)),
    block((0.1295, 0.0036, 0.0275), (0.0060, 0.0104, 0.0108), turn=("y", 30.6)),
)
CHEFMATE_8_FRYPAN: Final = Item(
    category="chefmate_8_frypan",
    family=_SCANNED,
    mass_kg=0.05025,
    collision=(
        *_PAN_HANDLE,
        box(0.1096, 0.1096, 0.0008, 0.0128),
        box(0.0992, 0.1490, 0.0030, 0.0120, at=(0.0030, -0.0017)),
        box(0.1568, 0.0936, 0.0030, 0.0120, at=(0.0086, -0.0029)),
        *ring(12, 0.0895, 0.0223, (0.0036, 0.0274, 0.0213), 31.1, at=_PAN_AT),
    ),
    visual=(
        lathe(
            _shell(((0.0760, 0.0008), (0.0905, 0.0170), (0.1020, 0.0415)), 0.0050, 0.0070),
            (0.17, 0.19, 0.18),
            at=_PAN_AT,
        ),
        lathe(((0.0, 0.0080), (0.0700, 0.0080), (0.0, 0.0090)), (0.30, 0.33, 0.31), at=_PAN_AT),
        block((0.1926, 0.0, 0.0441), (0.0690, 0.0110, 0.0060), (0.08, 0.08, 0.08), turn=("y", -7.4)),
        block((0.1180, 0.0, 0.0290), (0.0180, 0.0090, 0.0060), (0.40, 0.40, 0.42), turn=("y", -25.0)),
    ),
)

_PORCELAIN_AT: Final = (0.0155, -0.0012)
PORCELAIN_MUG: Final = Item(
    category="porcelain_mug",
    family=_TURBOSQUID,
    mass_kg=0.01646,
    collision=(
        block((-0.0595, 0.0, 0.0560), (0.0038, 0.0080, 0.0198)),
        block((-0.0416, 0.0, 0.0286), (0.0198, 0.0080, 0.0038), turn=("y", 28.7)),
        block((-0.0463, 0.0, 0.0834), (0.0198, 0.0080, 0.0038), turn=("y", -34.7)),
        *_crossed(0.0256, 0.0243, 0.0171, 0.0164, (0.0024, 0.0128), _PORCELAIN_AT),
        *ring(8, 0.0339, 0.0239, (0.0014, 0.0166, 0.0189), 23.6, at=_PORCELAIN_AT),
        *ring(8, 0.0404, 0.0758, (0.0024, 0.0178, 0.0326), 0.0, at=_PORCELAIN_AT),
    ),
    visual=(
        lathe(_shell(((0.0265, 0.0), (0.0420, 0.0430), (0.0455, 0.1120)), 0.0042, 0.0100), _WHITE, at=_PORCELAIN_AT),
        block((-0.0600, 0.0, 0.0580), (0.0045, 0.0055, 0.0230), _WHITE),
        block((-0.0440, 0.0, 0.0315), (0.0190, 0.0055, 0.0045), _WHITE, turn=("y", 25.0)),
        block((-0.0440, 0.0, 0.0860), (0.0200, 0.0055, 0.0045), _WHITE, turn=("y", -20.0)),
    ),
)

_RED_AT: Final = (-0.0177, -0.0015)
RED_COFFEE_MUG: Final = Item(
    category="red_coffee_mug",
    family=_TURBOSQUID,
    mass_kg=0.02935,
    collision=(
        block((0.0368, 0.0011, 0.0504), (0.0029, 0.0076, 0.0342), turn=("y", 42.6)),
        block((0.0547, 0.0011, 0.0944), (0.0027, 0.0069, 0.0192), turn=("y", -5.9)),
        block((0.0346, 0.0011, 0.1116), (0.0182, 0.0069, 0.0027), turn=("y", -8.2)),
        block((-0.0153, -0.0030, 0.0053), (0.0269, 0.0235, 0.0025)),
        *ring(8, 0.0307, 0.0645, (0.0035, 0.0177, 0.0664), 6.5, at=_RED_AT),
    ),
    visual=(
        lathe(_shell(((0.0290, 0.0), (0.0350, 0.0300), (0.0450, 0.1345)), 0.0045, 0.0080), _RED, at=_RED_AT),
        block((0.0368, 0.0, 0.0504), (0.0040, 0.0055, 0.0310), _RED, turn=("y", 42.6)),
        block((0.0560, 0.0, 0.0930), (0.0040, 0.0055, 0.0230), _RED, turn=("y", -5.9)),
        block((0.0380, 0.0, 0.1130), (0.0200, 0.0055, 0.0040), _RED, turn=("y", -8.2)),
    ),
)

_YELLOW_AT: Final = (-0.0182, -0.0005)
WHITE_YELLOW_MUG: Final = Item(
    category="white_yellow_mug",
    family=_TURBOSQUID,
    mass_kg=0.03091,
    collision=(
        block((0.0641, 0.0, 0.0560), (0.0041, 0.0088, 0.0292)),
        block((0.0402, 0.0, 0.0263), (0.0249, 0.0088, 0.0041), turn=("y", -11.8)),
        block((0.0464, 0.0, 0.0796), (0.0217, 0.0088, 0.0041), turn=("y", -6.3)),
        *_crossed(0.0266, 0.0259, 0.0186, 0.0186, (0.0002, 0.0052), _YELLOW_AT),
        *ring(12, 0.0310, 0.0106, (0.0041, 0.0100, 0.0103), 36.2, at=_YELLOW_AT),
        *ring(12, 0.0424, 0.0593, (0.0041, 0.0140, 0.0436), 7.5, at=_YELLOW_AT),
    ),
    visual=(
        lathe(_shell(((0.0290, 0.0), (0.0385, 0.0170), (0.0475, 0.0600)), 0.0060, 0.0060), _YELLOW, at=_YELLOW_AT),
        lathe(
            ((0.0415, 0.0600), (0.0475, 0.0600), (0.0515, 0.1046), (0.0455, 0.1046), (0.0415, 0.0600)),
            _WHITE,
            at=_YELLOW_AT,
        ),
        cylinder(0.0330, 0.0062, 0.0066, _WHITE, at=_YELLOW_AT),
        block((0.0641, 0.0, 0.0560), (0.0045, 0.0060, 0.0292), _YELLOW),
        block((0.0402, 0.0, 0.0263), (0.0249, 0.0060, 0.0045), _YELLOW, turn=("y", -11.8)),
        block((0.0464, 0.0, 0.0820), (0.0217, 0.0060, 0.0045), _YELLOW, turn=("y", -6.3)),
    ),
)

ITEMS: Final[tuple[Item, ...]] = (
    AKITA_BLACK_BOWL,
    CHEFMATE_8_FRYPAN,
    GLAZED_RIM_PORCELAIN_RAMEKIN,
    PLATE,
    PORCELAIN_MUG,
    RED_COFFEE_MUG,
    WHITE_BOWL,
    WHITE_YELLOW_MUG,
)
