"""JPEG encoding and decoding of pictures, as in OpenVLA's data and its published evaluation.

Everything of JPEG but the lossless coding of its numbers, so nothing is written and no device is left. The numbers are
those of TensorFlow's `encode_jpeg` (quality 95, colours at half resolution) and `decode_image`, whose decoder takes
libjpeg's fast integer transform. Other decoders, Pillow's among them, take the accurate one: their pictures differ from
TensorFlow's by about as much as JPEG itself changes one. All arithmetic is libjpeg's own, in whole numbers.

    RGB -> YCbCr, halved -> 8x8 blocks -> cosine transform -> divided and rounded     (here something is lost)
    RGB <- YCbCr, doubled <- 8x8 blocks <- fast inverse transform <- multiplied
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

BLOCK = 8
QUALITY_SCALE = 10
"""Per cent of the standard tables that quality 95 takes."""
LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
"""The standard's table K.1, row by row."""
CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *([99] * 32),
)
"""Table K.2."""
FAST_SCALES = (16384, 22725, 21407, 19266, 16384, 12873, 8867, 4520)
"""cos(k pi / 16) sqrt(2) in 14 bits (1 for k = 0): what the fast transform leaves to the multiplication before it."""

Eight = Sequence[Tensor]
Transform = Callable[[Eight, bool], list[Tensor]]
"""Eight numbers of a block's line to eight; the flag tells a block's second pass."""


def jpeg_pictures(images_NHWC: Tensor) -> Tensor:
    """uint8 pictures (red, green, blue; any size) as they come back from a JPEG file."""
    height, width = images_NHWC.shape[1:3]
    red, green, blue = _pad(images_NHWC.int(), height + height % 2, width + -width % 16).unbind(-1)
    luma_NHW = (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16
    offset = (128 << 16) + (1 << 15) - 1
    chromas = (
        (-11059 * red - 21709 * green + 32768 * blue + offset) >> 16,
        (32768 * red - 27439 * green - 5329 * blue + offset) >> 16,
    )
    luma_NHW = _through_blocks(luma_NHW, LUMINANCE)[:, :height, :width]
    halves = (_through_blocks(_halve(one), CHROMINANCE) for one in chromas)
    blue_NHW, red_NHW = (
        _double(one[:, : -(-height // 2), : -(-width // 2)])[:, :height, :width] - 128 for one in halves
    )
    back = (
        luma_NHW + ((91881 * red_NHW + (1 << 15)) >> 16),
        luma_NHW + ((-22554 * blue_NHW - 46802 * red_NHW + (1 << 15)) >> 16),
        luma_NHW + ((116130 * blue_NHW + (1 << 15)) >> 16),
    )
    return torch.stack(back, dim=-1).clamp(0, 255).to(torch.uint8)


def _pad(planes: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and column of planes_NHW... up to a size."""
    rows = torch.arange(height, device=planes.device).clamp(max=planes.shape[1] - 1)
    columns = torch.arange(width, device=planes.device).clamp(max=planes.shape[2] - 1)
    return planes[:, rows][:, :, columns]


def _halve(plane_NHW: Tensor) -> Tensor:
    """Means of two by two; what lies between two whole numbers goes down and up in turn."""
    sums_NHW = plane_NHW[:, 0::2] + plane_NHW[:, 1::2]
    sums_NHW = sums_NHW[:, :, 0::2] + sums_NHW[:, :, 1::2]
    bias_W = 1 + torch.arange(sums_NHW.shape[2], device=plane_NHW.device, dtype=torch.int32) % 2
    return (sums_NHW + bias_W) >> 2


def _double(plane_NHW: Tensor) -> Tensor:
    """Twice the size, each new number 9, 3, 3 and 1 parts of the four nearest ones (libjpeg's triangle filter)."""
    num, height, width = plane_NHW.shape
    rows = torch.arange(height, device=plane_NHW.device)
    near = [plane_NHW[:, (rows + step).clamp(0, height - 1)] for step in (-1, 1)]
    tall = torch.stack([3 * plane_NHW + one for one in near], dim=2).reshape(num, 2 * height, width)
    columns = torch.arange(width, device=plane_NHW.device)
    left, right = (tall[:, :, (columns + step).clamp(0, width - 1)] for step in (-1, 1))
    return torch.stack([(3 * tall + left + 8) >> 4, (3 * tall + right + 7) >> 4], dim=3).reshape(num, -1, 2 * width)


def _through_blocks(plane_NHW: Tensor, table: tuple[int, ...]) -> Tensor:
    """A plane after its blocks were transformed, rounded and transformed back; padded to whole blocks."""
    num, height, width = plane_NHW.shape
    plane_NHW = _pad(plane_NHW, height + -height % BLOCK, width + -width % BLOCK)
    blocks = plane_NHW.view(num, plane_NHW.shape[1] // BLOCK, BLOCK, -1, BLOCK).transpose(2, 3) - 128
    divisors, factors = _tables(table, plane_NHW.device)
    waves = _both_ways(blocks, _forward, rows_first=True)
    rounded = waves.sign() * ((waves.abs() + divisors // 2) // divisors)
    back = _both_ways(rounded * factors, _fast_inverse, rows_first=False)
    return (back + 128).clamp(0, 255).transpose(2, 3).reshape(plane_NHW.shape)


@lru_cache(maxsize=8)
def _tables(table: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """What waves are divided by (the forward transform leaves them 8 times too large) and multiplied by."""
    steps = ((torch.tensor(table, dtype=torch.int32) * QUALITY_SCALE + 50) // 100).clamp(min=1).view(BLOCK, BLOCK)
    scales = torch.tensor(FAST_SCALES, dtype=torch.int64)
    both = _descale(scales[:, None] * scales[None, :], 14)
    factors = _descale(steps.long() * both, 12).int()
    return (steps * 8).to(device), factors.to(device)


def _both_ways(blocks: Tensor, transform: Transform, *, rows_first: bool) -> Tensor:
    """A transform along rows and columns of the last two axes."""
    first, second = (-1, -2) if rows_first else (-2, -1)
    lines = torch.stack(transform(blocks.unbind(first), False), dim=first)  # noqa: FBT003 - a Transform's only flag
    return torch.stack(transform(lines.unbind(second), True), dim=second)  # noqa: FBT003


def _descale(values: Tensor, bits: int) -> Tensor:
    return (values + (1 << (bits - 1))) >> bits


def _forward(line: Eight, second: bool) -> list[Tensor]:  # noqa: FBT001
    """The accurate transform of libjpeg (jfdctint.c, 13-bit constants), whose first pass leaves two bits more."""
    sums = [line[k] + line[7 - k] for k in range(4)]
    t4, t5, t6, t7 = (line[k] - line[7 - k] for k in (3, 2, 1, 0))
    even, odd = (sums[0] + sums[3], sums[1] + sums[2]), (sums[0] - sums[3], sums[1] - sums[2])
    bits = 15 if second else 11

    z1 = (odd[0] + odd[1]) * 4433
    out2, out6 = _descale(z1 + odd[0] * 6270, bits), _descale(z1 - odd[1] * 15137, bits)
    flat = [even[0] + even[1], even[0] - even[1]]
    out0, out4 = (_descale(one, 2) if second else one << 2 for one in flat)

    z5 = (t4 + t6 + t5 + t7) * 9633
    z1, z2 = (t4 + t7) * -7373, (t5 + t6) * -20995
    z3, z4 = (t4 + t6) * -16069 + z5, (t5 + t7) * -3196 + z5
    out7, out5 = _descale(t4 * 2446 + z1 + z3, bits), _descale(t5 * 16819 + z2 + z4, bits)
    out3, out1 = _descale(t6 * 25172 + z2 + z3, bits), _descale(t7 * 12299 + z1 + z4, bits)
    return [out0, out1, out2, out3, out4, out5, out6, out7]


def _fast_inverse(line: Eight, second: bool) -> list[Tensor]:  # noqa: FBT001
    """The fast inverse of libjpeg (jidctfst.c, 8-bit constants): rounds down, and the second pass drops five bits."""
    t10, t11, t13 = line[0] + line[4], line[0] - line[4], line[2] + line[6]
    t12 = ((line[2] - line[6]) * 362 >> 8) - t13
    even = (t10 + t13, t11 + t12, t11 - t12, t10 - t13)

    z13, z10 = line[5] + line[3], line[5] - line[3]
    z11, z12 = line[1] + line[7], line[1] - line[7]
    z5 = (z10 + z12) * 473 >> 8
    o7 = z11 + z13
    o6 = (z10 * -669 >> 8) + z5 - o7
    o5 = ((z11 - z13) * 362 >> 8) - o6
    o4 = (z12 * 277 >> 8) - z5 + o5
    odd = (o7, o6, o5, -o4)
    out = [e + o for e, o in zip(even, odd, strict=True)] + [e - o for e, o in zip(even[::-1], odd[::-1], strict=True)]
    return [one >> 5 for one in out] if second else out
