"""OpenVLA's pictures beside Pillow's resampling and plain loops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tgrpo_trainer.policy.openvla.pictures import prepare_pictures
from tgrpo_trainer.policy.openvla.vision import TowerKind

Channels = tuple[float, float, float] | NDArray[np.float64]


def smooth_picture(side: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random blobs: like a camera's picture, neighbours are alike."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def grey_levels(
    pixels_NCHW: Tensor, mean: Channels = (0.5, 0.5, 0.5), std: Channels = (0.5, 0.5, 0.5)
) -> NDArray[np.float64]:
    """Undo the normalisation: (H, W, 3) in 0..255."""
    levels: NDArray[np.float64] = (pixels_NCHW[0].permute(1, 2, 0).double().numpy() * std + mean) * 255
    return levels


def prepare(
    picture: NDArray[np.uint8], towers: Sequence[TowerKind] = ("siglip",), size: int = 224, *, center_crop: bool = False
) -> Tensor:
    return prepare_pictures(torch.tensor(picture)[None], towers, size=size, center_crop=center_crop)


@pytest.mark.parametrize("side", [64, 256, 360])
def test_resizing_is_lanczos_as_pillow_does_it_of_the_mirrored_picture(side: int) -> None:
    picture = smooth_picture(side)
    mirrored = Image.fromarray(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pillow = np.asarray(mirrored.resize((224, 224), Image.Resampling.LANCZOS), dtype=np.float64)
    difference = np.abs(grey_levels(prepare(picture)) - pillow)
    # Pillow rounds to whole grey levels between the two axes as well.
    assert difference.max() < 1.5 and difference.mean() < 0.25


def test_the_right_size_is_only_mirrored() -> None:
    picture = smooth_picture(224)
    np.testing.assert_allclose(grey_levels(prepare(picture)), picture[:, ::-1], atol=1e-3)


def test_each_tower_has_its_own_normalisation_in_its_own_channels() -> None:
    picture = smooth_picture(224)
    pixels = prepare(picture, ("dinov2", "siglip"))
    assert pixels.shape == (1, 6, 224, 224) and pixels.dtype == torch.float32
    imagenet = {"mean": np.array([0.485, 0.456, 0.406]), "std": np.array([0.229, 0.224, 0.225])}
    np.testing.assert_allclose(grey_levels(pixels[:, :3], **imagenet), picture[:, ::-1], atol=1e-3)
    np.testing.assert_allclose(grey_levels(pixels[:, 3:]), picture[:, ::-1], atol=1e-3)
    # By hand: a red value of 255 is (1 - 0.485) / 0.229 for DINOv2 and (1 - 0.5) / 0.5 for SigLIP.
    white = prepare(np.full((224, 224, 3), 255, dtype=np.uint8), ("dinov2", "siglip"))
    assert white[0, 0, 0, 0].item() == pytest.approx(2.2489, abs=1e-4) and white[0, 3, 0, 0].item() == 1.0


def crop_with_loops(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """TensorFlow's crop_and_resize of the centre 0.9 of the area, pixel by pixel, and its rounding down."""
    size = picture.shape[0]
    unit = picture.astype(np.float64) / 255
    edge = (1 - np.sqrt(0.9)) / 2
    out = np.empty_like(picture)
    for i in range(size):
        y = edge * (size - 1) + i * (1 - 2 * edge) * (size - 1) / (size - 1)
        top, dy = int(np.floor(y)), y - np.floor(y)
        for j in range(size):
            x = edge * (size - 1) + j * (1 - 2 * edge) * (size - 1) / (size - 1)
            left, dx = int(np.floor(x)), x - np.floor(x)
            upper = unit[top, left] * (1 - dx) + unit[top, left + 1] * dx
            lower = unit[top + 1, left] * (1 - dx) + unit[top + 1, left + 1] * dx
            out[i, j] = np.floor((upper * (1 - dy) + lower * dy) * 255.5)
    return out


def test_the_centre_crop_is_tensorflows() -> None:
    picture = smooth_picture(56)
    ours = grey_levels(prepare(picture, size=56, center_crop=True)).round()
    theirs = crop_with_loops(np.ascontiguousarray(picture[:, ::-1]))
    difference = np.abs(ours - theirs)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01  # float32 here: a value on the edge may fall below


def test_the_crop_keeps_nine_tenths_of_the_area() -> None:
    ramp = np.broadcast_to(np.arange(224, dtype=np.uint8)[None, ::-1, None], (224, 224, 3))
    columns = grey_levels(prepare(np.ascontiguousarray(ramp), center_crop=True))[0, :, 0]
    # Mirrored, the ramp rises from 0 to 223; the crop shows 223 * (1 - sqrt(0.9)) / 2 = 5.7 to 217.3.
    assert columns[0] == pytest.approx(5.7, abs=1.0) and columns[-1] == pytest.approx(217.3, abs=1.0)


def test_pictures_do_not_depend_on_their_neighbours() -> None:
    pictures = torch.tensor(np.stack([smooth_picture(64, seed) for seed in range(3)]))
    batch = prepare_pictures(pictures, ("dinov2", "siglip"), size=28, center_crop=True)
    for i in range(3):
        alone = prepare_pictures(pictures[i : i + 1], ("dinov2", "siglip"), size=28, center_crop=True)
        torch.testing.assert_close(batch[i : i + 1], alone)
