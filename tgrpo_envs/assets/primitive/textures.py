"""The two pictures LIBERO's floor arena cannot do without, drawn in code: a plank floor and a plain wall."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIZE_PX = 64
_SEAM_RGB = (226, 222, 216)
_PLANK_RGB = (186, 177, 168)
_WALL_RGB = (226, 226, 224)


def plank_floor() -> bytes:
    """PNG of pale wooden planks with light seams, as in LIBERO-Object's pictures."""
    rows, columns = np.mgrid[0:_SIZE_PX, 0:_SIZE_PX]
    plank = rows // 16
    grain = 6.0 * np.sin(1.7 * rows + 2.1 * np.sin(2 * np.pi * columns / 32 + plank)) + 7.0 * np.cos(2.4 * plank)
    image = np.asarray(_PLANK_RGB)[None, None, :] + grain[:, :, None]
    # Neighbouring planks end half a plank apart, as laid floors do.
    seam = (rows % 16 == 0) | ((columns + 32 * (plank % 2)) % _SIZE_PX == 0)
    image[seam] = _SEAM_RGB
    return encode_png(np.clip(np.rint(image), 0, 255).astype(np.uint8))


def plain_wall() -> bytes:
    """PNG of one light grey."""
    return encode_png(np.full((4, 4, 3), _WALL_RGB, dtype=np.uint8))


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
