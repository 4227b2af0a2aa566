"""The pictures that LIBERO's arenas cannot do without, drawn in code: floors, walls and the wood of a table."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIZE_PX = 64
_SEAM_RGB = (226, 222, 216)
_PLANK_RGB = (186, 177, 168)
_WALL_RGB = (226, 226, 224)
_LINEN_RGB = (220, 213, 180)
_TILE_RGB = (186, 171, 155)
_HONEY_RGB = (226, 192, 132)
_JOINT_RGB = (170, 136, 88)
_TABLE_RGB = (204, 184, 162)


def plank_floor() -> bytes:
    """PNG of pale wooden planks with light seams, as in LIBERO-Object's pictures."""
    rows, columns = np.mgrid[0:_SIZE_PX, 0:_SIZE_PX]
    plank = rows // 16
    grain = 6.0 * np.sin(1.7 * rows + 2.1 * np.sin(2 * np.pi * columns / 32 + plank)) + 7.0 * np.cos(2.4 * plank)
    image = np.asarray(_PLANK_RGB)[None, None, :] + grain[:, :, None]
    # Neighbouring planks end half a plank apart, as laid floors do.
    seam = (rows % 16 == 0) | ((columns + 32 * (plank % 2)) % _SIZE_PX == 0)
    image[seam] = _SEAM_RGB
    return _rounded_png(image)


def tile_floor() -> bytes:
    """PNG of warm grey tiles with light seams, as in LIBERO's kitchens."""
    rows, columns = np.mgrid[0:_SIZE_PX, 0:_SIZE_PX]
    image = np.broadcast_to(np.asarray(_TILE_RGB, dtype=np.float64), (_SIZE_PX, _SIZE_PX, 3)).copy()
    image += (5.0 * np.cos(np.pi * (rows // 32 + columns // 32)))[:, :, None]
    image[(rows % 32 == 0) | (columns % 32 == 0)] = _SEAM_RGB
    return _rounded_png(image)


def wood_floor() -> bytes:
    """PNG of honey-coloured planks with thin dark joints, as in LIBERO's living rooms."""
    rows, columns = np.mgrid[0:_SIZE_PX, 0:_SIZE_PX]
    plank = rows // 8
    image = np.asarray(_HONEY_RGB)[None, None, :] + (10.0 * np.cos(2.4 * plank))[:, :, None]
    image[(rows % 8 == 0) | ((columns + 24 * plank) % _SIZE_PX == 0)] = _JOINT_RGB
    return _rounded_png(image)


def table_wood() -> bytes:
    """PNG of pale wood with long streaks, as LIBERO's tables."""
    rows, columns = np.mgrid[0:_SIZE_PX, 0:_SIZE_PX]
    # Whole waves along both sides, so that the picture repeats without a seam.
    along, across = 2 * np.pi * columns / _SIZE_PX, 2 * np.pi * rows / _SIZE_PX
    streaks = np.sin(5 * across + 1.5 * np.sin(along)) + 0.6 * np.sin(11 * across + 1.1 * np.sin(2 * along + 1))
    return _rounded_png(np.asarray(_TABLE_RGB)[None, None, :] + 6.0 * streaks[:, :, None])


def plain_wall() -> bytes:
    """PNG of one light grey."""
    return encode_png(np.full((4, 4, 3), _WALL_RGB, dtype=np.uint8))


def linen_wall() -> bytes:
    """PNG of one yellowish grey, as in LIBERO's kitchens."""
    return encode_png(np.full((4, 4, 3), _LINEN_RGB, dtype=np.uint8))


def encode_png(image_HWC: NDArray[np.uint8]) -> bytes:
    """Encode an RGB image (H, W, 3) as PNG.

    Stored without compression, so that the bytes, and the pack's digest, do not depend on the zlib build.
    """
    height, width, _ = image_HWC.shape
    scanlines = b"".join(b"\x00" + row.tobytes() for row in image_HWC)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(scanlines, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _rounded_png(image_HWC: NDArray[np.float64]) -> bytes:
    return encode_png(np.clip(np.rint(image_HWC), 0, 255).astype(np.uint8))
