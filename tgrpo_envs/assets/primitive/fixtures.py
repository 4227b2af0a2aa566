"""The table of LIBERO's fixtures that move: two cabinets, the microwave and the stove; metres, kilograms, radians.

Read off LIBERO's MJCF files (`articulated_objects/*.xml`). Gaps between drawers and cabinet are below a millimetre, and
they do collide, so these boxes are LIBERO's to the hundredth of a millimetre.
"""

from __future__ import annotations

from typing import Final

from tgrpo_envs.assets.primitive.shapes import (
    MUJOCO_CONTACT,
    Colour,
    Contact,
    Inertia,
    Item,
    Joint,
    Part,
    Region,
    Shape,
    block,
    cylinder,
    lathe,
)

_FAMILY: Final = "articulated_objects"
_ROLLED: Final = (0.7071068, 0.0, 0.7071068, 0.0)
# LIBERO gives each moving part the inertia of something far larger, so that it moves slowly.
_SLUGGISH: Final = Inertia(3.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 0.0, 0.0, 0.0))

_STEEL: Final[Colour] = (0.52, 0.53, 0.54)
_BLACK: Final[Colour] = (0.07, 0.07, 0.08)
_COAL: Final[Colour] = (0.13, 0.13, 0.14)

_CARCASS: Final = (
    block((0.00397, 0.10954, 0.11350), (0.11106, 0.00193, 0.10453)),
    block((0.00405, 0.01635, 0.00686), (0.12277, 0.08960, 0.00199)),
    block((-0.11216, 0.01625, 0.11426), (0.00517, 0.09542, 0.10584)),
    block((0.11898, 0.01625, 0.11426), (0.00517, 0.09542, 0.10584)),
    block((0.00211, 0.10938, 0.11426), (0.11912, 0.00231, 0.10584)),
    block((0.00376, 0.01868, 0.14935), (0.11168, 0.08935, 0.00085)),
    block((0.00408, 0.01868, 0.00933), (0.11168, 0.08935, 0.00085)),
    block((0.00392, 0.01868, 0.07928), (0.11168, 0.08935, 0.00085)),
    block((0.00394, 0.01577, 0.22157), (0.12729, 0.09409, 0.00142)),
)


def _drawer(
    level: str, front_z: float, tray_z: float, floor_z: float, grip_z: float, region_z: float, look: Colour
) -> Part:
    """One drawer: a tray whose front has two layers, and a handle. It comes out towards -y."""
    tray = (
        block((0.00334, -0.07524, front_z), (0.10934, 0.00271, 0.03427)),
        block((0.00334, -0.06839, tray_z), (0.10679, 0.00356, 0.03214)),
        block((0.00334, 0.09077, tray_z), (0.10679, 0.00356, 0.03214)),
        block((-0.10191, 0.01105, tray_z), (0.00241, 0.08148, 0.03165)),
        block((0.10894, 0.01105, tray_z), (0.00241, 0.08148, 0.03133)),
        block((0.00348, 0.01048, floor_z), (0.10696, 0.08095, 0.00401)),
    )
    handle = (
        block((-0.00278, -0.10161, grip_z), (0.04445, 0.00770, 0.00817)),
        block((0.02916, -0.08348, grip_z), (0.00507, 0.01057, 0.00552)),
        block((-0.03560, -0.08348, grip_z), (0.00507, 0.01057, 0.00560)),
    )
    drawn = (
        # The second layer of the front lies behind the first and is drawn as one with it.
        block((0.00334, -0.07139, front_z), (0.10934, 0.00656, 0.03380), look),
        *(block(shape.centre_m, shape.half_m, look) for shape in tray[2:]),
        block((-0.00278, -0.10361, grip_z), (0.04445, 0.00500, 0.00600), _STEEL),
        *(block(shape.centre_m, shape.half_m, _STEEL) for shape in handle[1:]),
    )
    return Part(
        f"cabinet_{level}",
        joint=Joint(f"{level}_level", "slide", (0.0, 1.0, 0.0), (-0.16, 0.01), damping=50.0),
        mass=_SLUGGISH,
        collision=(*tray, *handle),
        visual=drawn,
        regions=(Region(f"{level}_region", (0.00328, 0.01128, region_z), (0.02993, 0.07561, 0.10224), _ROLLED),),
    )


def _cabinet(category: str, body: Colour, inside: Colour, front: Colour) -> Item:
    """LIBERO's two cabinets differ in their wood only."""
    base = Part(
        "base",
        mass=0.17624,
        collision=_CARCASS,
        visual=(
            # Sides, back and top; the shelves are darker and only seen behind an open drawer.
            *(block(shape.centre_m, shape.half_m, body) for shape in (*_CARCASS[1:5], _CARCASS[8])),
            *(block(shape.centre_m, shape.half_m, inside) for shape in (_CARCASS[5], _CARCASS[7])),
        ),
        regions=(Region("top_side", (0.00354, 0.01567, 0.22152), (0.12534, 0.09438, 0.00147)),),
        parts=(
            _drawer("top", 0.18309, 0.18358, 0.15514, 0.18393, 0.18563, front),
            _drawer("middle", 0.11338, 0.11387, 0.08543, 0.11041, 0.11690, front),
            _drawer("bottom", 0.04476, 0.04525, 0.01682, 0.04114, 0.04701, front),
        ),
    )
    return _fixture(category, base, height_m=0.045, radius_m=0.045)


def _fixture(category: str, base: Part, height_m: float, radius_m: float) -> Item:
    """An item whose own body is a mere frame around its base."""
    return Item(
        category=category,
        family=_FAMILY,
        mass_kg=0.0,
        collision=(),
        visual=(),
        bottom_m=-height_m,
        top_m=height_m,
        radius_m=radius_m,
        parts=(base,),
    )


WOODEN_CABINET: Final = _cabinet("wooden_cabinet", (0.15, 0.12, 0.11), (0.10, 0.08, 0.07), (0.24, 0.19, 0.17))
WHITE_CABINET: Final = _cabinet("white_cabinet", (0.72, 0.72, 0.74), (0.50, 0.50, 0.52), (0.88, 0.88, 0.89))

_MICROWAVE_CONTACT: Final = Contact((1.0, 0.005, 0.0001), (0.02, 1.0), (0.8, 0.9, 0.01), margin=0.001, contype=0)
_OVEN_WALLS: Final = (
    block((-0.1580, 0.0115, 0.0935), (0.0145, 0.09955, 0.0935)),
    block((0.1180, 0.0115, 0.0935), (0.0545, 0.09955, 0.0935)),
    block((-0.0405, 0.0955, 0.0935), (0.1035, 0.0150, 0.0935)),
    block((-0.0400, -0.0035, 0.1775), (0.1035, 0.0845, 0.0095)),
    block((-0.0400, -0.0040, 0.0120), (0.1035, 0.0840, 0.0120)),
    block((0.1300, -0.0985, 0.0935), (0.0425, 0.0120, 0.0935)),
)
_DOOR_FRAME: Final = tuple(
    block(centre, half, _COAL)
    for centre, half in (
        ((0.1295, -0.0130, 0.0770), (0.1295, 0.0100, 0.0140)),
        ((0.1295, -0.0130, -0.0770), (0.1295, 0.0100, 0.0140)),
        ((0.0220, -0.0130, 0.0), (0.0220, 0.0100, 0.0630)),
        ((0.2370, -0.0130, 0.0), (0.0210, 0.0100, 0.0630)),
    )
)
_MICROWAVE_DOOR: Final = Part(
    "microdoorroot",
    centre_m=(-0.1725, -0.0880, 0.0960),
    joint=Joint("microjoint", "hinge", (0.0, 0.0, 1.0), (-2.094, 0.0), damping=0.5),
    # Its handle is heavier for its size than the door.
    mass=Inertia(0.26, (0.15442, -0.01992, 0.0), (0.00084, 0.00243, 0.00172, 0.00015, 0.0, 0.0)),
    collision=(
        Shape("capsule", (0.2375, -0.0540, 0.0), (0.01, 0.01, 0.065)),
        Shape("capsule", (0.2375, -0.0375, 0.065), (0.01, 0.01, 0.015), turn=("x", 90.0)),
        Shape("capsule", (0.2375, -0.0375, -0.065), (0.01, 0.01, 0.015), turn=("x", 90.0)),
        block((0.1295, -0.0130, 0.0), (0.1295, 0.0120, 0.0925)),
    ),
    visual=(
        *_DOOR_FRAME,
        block((0.1300, -0.0130, 0.0), (0.0870, 0.0060, 0.0630), (0.42, 0.40, 0.38)),
        block((0.2375, -0.0540, 0.0), (0.0080, 0.0080, 0.0750), _STEEL),
        block((0.2375, -0.0360, 0.0650), (0.0070, 0.0160, 0.0070), _STEEL),
        block((0.2375, -0.0360, -0.0650), (0.0070, 0.0160, 0.0070), _STEEL),
    ),
    contact=_MICROWAVE_CONTACT,
)
MICROWAVE: Final = Item(
    category="microwave",
    family=_FAMILY,
    mass_kg=3.0,
    collision=_OVEN_WALLS,
    visual=(
        *(block(shape.centre_m, shape.half_m, _COAL) for shape in _OVEN_WALLS),
        block((-0.0400, 0.0790, 0.0935), (0.1000, 0.0015, 0.0720), (0.30, 0.30, 0.31)),
        block((0.1260, -0.1112, 0.1500), (0.0300, 0.0010, 0.0140), (0.10, 0.45, 0.40)),
        block((0.1260, -0.1112, 0.0850), (0.0280, 0.0010, 0.0330), (0.25, 0.25, 0.26)),
        block((0.1260, -0.1112, 0.0210), (0.0320, 0.0012, 0.0093), _STEEL),
    ),
    top_m=0.06,
    radius_m=0.015,
    regions=(
        Region("top_side", (0.0, 0.01, 0.20), (0.12, 0.0835, 0.005)),
        Region("heating_region", (0.0, 0.01, 0.096), (0.12, 0.0835, 0.08)),
    ),
    parts=(_MICROWAVE_DOOR,),
    contact=_MICROWAVE_CONTACT,
)


def _coil(radius: float) -> Shape:
    """One turn of the burner, standing out of the plate; the glow of a hot stove shows between the turns."""
    inner, outer, low, high = radius - 0.0035, radius + 0.0035, 0.0200, 0.0254
    return lathe(((inner, low), (outer, low), (outer, high), (inner, high), (inner, low)), (0.24, 0.24, 0.25))


_BURNER: Final = Part(
    "burner",
    centre_m=(0.15, 0.0, 0.0),
    mass=1.48010,
    collision=(block((0.0, 0.0, 0.0), (0.095, 0.095, 0.02)), block((0.0, 0.0, 0.025), (0.095, 0.095, 0.0005))),
    visual=(
        block((0.0, 0.0, 0.0), (0.095, 0.095, 0.02), (0.80, 0.80, 0.79)),
        cylinder(0.0680, 0.0195, 0.0206, (0.45, 0.45, 0.46)),
        *(_coil(radius) for radius in (0.014, 0.030, 0.046, 0.062)),
    ),
    regions=(
        Region("cook_region", (0.0, 0.0, 0.0), (0.075, 0.075, 0.0025)),
        Region("burner", (0.0, 0.0, 0.022), (0.0625, 0.0005), kind="cylinder", rgba=(0.9, 0.05, 0.05, 1.0)),
    ),
    # Empty, but LIBERO stops looking for regions at the first body that has none.
    parts=(Part("burner_plate"),),
    contact=MUJOCO_CONTACT,
)
_BUTTON: Final = Part(
    "button",
    quat=(0.7071068, 0.0, 0.0, 0.7071068),
    joint=Joint("button", "hinge", (0.0, 0.0, 1.0), (-0.005, 2.1), damping=1.0),
    mass=_SLUGGISH,
    collision=(
        # A disc from five boxes, and the grip across it in three steps.
        block((0.0013, 0.0046, 0.0066), (0.0340, 0.0340, 0.0062)),
        block((0.0014, 0.0043, 0.0066), (0.0473, 0.0142, 0.0062)),
        block((0.0014, 0.0043, 0.0066), (0.0436, 0.0250, 0.0062)),
        block((0.0014, 0.0043, 0.0066), (0.0142, 0.0476, 0.0062)),
        block((0.0014, 0.0047, 0.0066), (0.0250, 0.0433, 0.0062)),
        block((0.0014, 0.0174, 0.0257), (0.0121, 0.0345, 0.0243)),
        block((0.0012, -0.0225, 0.0248), (0.0121, 0.0103, 0.0177)),
        block((0.0011, -0.0364, 0.0172), (0.0121, 0.0042, 0.0166)),
    ),
    visual=(
        cylinder(0.0460, 0.0, 0.0128, _BLACK, at=(0.0014, 0.0045)),
        block((0.0014, 0.0174, 0.0257), (0.0110, 0.0345, 0.0243), (0.12, 0.12, 0.13)),
        block((0.0012, -0.0280, 0.0210), (0.0110, 0.0120, 0.0150), (0.12, 0.12, 0.13)),
    ),
)
FLAT_STOVE: Final = _fixture("flat_stove", Part("base", parts=(_BURNER, _BUTTON)), height_m=0.045, radius_m=0.045)

ITEMS: Final[tuple[Item, ...]] = (FLAT_STOVE, MICROWAVE, WHITE_CABINET, WOODEN_CABINET)
