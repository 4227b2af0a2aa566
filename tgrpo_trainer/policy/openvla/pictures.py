"""From the environment's pictures to OpenVLA's: mirrored, resized, cropped and normalised like its training data.

LIBERO's raw picture is upside down and OpenVLA was trained on it turned by 180 degrees, which is an upright picture
mirrored left to right; the environment's pictures are upright and not mirrored. Resizing follows tf.image.resize
(Lanczos-3 with antialiasing), cropping tf.image.crop_and_resize (bilinear, corners aligned), each rounded to whole grey
levels as there. Both are linear and separable, so a resize is two small matrix products, on any device. The matrices
are kept per device: copying them there at every decision would make the host wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from tgrpo_trainer.policy.openvla.jpeg import jpeg_pictures
from tgrpo_trainer.policy.openvla.vision import MEAN_STD, TowerKind

LANCZOS_LOBES = 3
CROP_AREA = 0.9
"""Share of the picture's area that the centre crop keeps (training crops at random to this size)."""
TO_UINT8 = 255.5
"""TensorFlow's factor from [0, 1] to whole grey levels, which are then rounded down."""


def prepare_pictures(
    images_NHWC: Tensor, towers: Sequence[TowerKind], *, size: int, center_crop: bool, jpeg: bool = False
) -> Tensor:
    """Normalised pixels_NCHW float32 with three channels per tower.

    Args:
        images_NHWC: uint8, upright and square, as the environment draws them.
        towers: What to normalise for, in order.
        size: Side of the result in pixels.
        center_crop: Keep the centre 0.9 of the area, for models trained with random crops.
        jpeg: Look at pictures as they come back from a JPEG file, like the published evaluation.
    """
    mirrored_NHWC = images_NHWC.flip(2)
    if jpeg:
        mirrored_NHWC = jpeg_pictures(mirrored_NHWC)
    pixels_NCHW = mirrored_NHWC.permute(0, 3, 1, 2).float()
    if pixels_NCHW.shape[-1] != size:
        resized_NCHW = _apply(_lanczos(pixels_NCHW.shape[-1], size, pixels_NCHW.device), pixels_NCHW)
        pixels_NCHW = resized_NCHW.round().clamp(0.0, 255.0)
    unit_NCHW = pixels_NCHW / 255.0
    if center_crop:
        cropped_NCHW = _apply(_center_crop(size, pixels_NCHW.device), unit_NCHW)
        unit_NCHW = (cropped_NCHW.clamp(0.0, 1.0) * TO_UINT8).floor() / 255.0
    normalisers = [_normaliser(tower, unit_NCHW.device) for tower in towers]
    return torch.cat([(unit_NCHW - mean_C11) / std_C11 for mean_C11, std_C11 in normalisers], dim=1)


def _apply(weights_OI: Tensor, pixels_NCII: Tensor) -> Tensor:
    return weights_OI @ pixels_NCII @ weights_OI.T


@lru_cache(maxsize=8)
def _lanczos(size_in: int, size_out: int, device: torch.device) -> Tensor:
    """weights_OI of Lanczos-3 resampling; when shrinking, the kernel is widened to average what falls together."""
    scale = size_in / size_out
    stretch = max(scale, 1.0)
    centres_O1 = ((torch.arange(size_out, dtype=torch.float64) + 0.5) * scale)[:, None]
    x_OI = (torch.arange(size_in, dtype=torch.float64) + 0.5 - centres_O1) / stretch
    weights_OI = torch.where(x_OI.abs() < LANCZOS_LOBES, torch.sinc(x_OI) * torch.sinc(x_OI / LANCZOS_LOBES), 0.0)
    return (weights_OI / weights_OI.sum(1, keepdim=True)).float().to(device)


@lru_cache(maxsize=8)
def _center_crop(size: int, device: torch.device) -> Tensor:
    """weights_OI that cut out the centre and stretch it to the full size, bilinear between aligned corners."""
    margin = (1.0 - CROP_AREA**0.5) / 2
    where_O = torch.linspace(margin, 1.0 - margin, size, dtype=torch.float64) * (size - 1)
    distance_OI = (where_O[:, None] - torch.arange(size, dtype=torch.float64)).abs()
    return (1.0 - distance_OI).clamp(min=0.0).float().to(device)


@lru_cache(maxsize=8)
def _normaliser(tower: TowerKind, device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = MEAN_STD[tower]
    return torch.tensor(mean, device=device).view(3, 1, 1), torch.tensor(std, device=device).view(3, 1, 1)
