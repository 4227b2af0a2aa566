"""JPEG as TensorFlow does it, to the bit, and what the option changes: little where it is on, nothing where it is off.

The digests are TensorFlow 2.21's, of these pictures: sha256(decode_image(tf.image.encode_jpeg(picture)).numpy()).
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.helpers.tiny_openvla import openvla_input, tiny_openvla, write_checkpoint
from tests.helpers.toy_run import make_toy_envs
from tests.trainer.policy.test_openvla_pictures import smooth_picture
from tgrpo_trainer.__main__ import main
from tgrpo_trainer.evaluation.record import EvaluationFile
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.openvla.jpeg import jpeg_pictures
from tgrpo_trainer.policy.openvla.pictures import prepare_pictures
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy

Picture = NDArray[np.uint8]
DIGESTS = {
    ("wavy", 256, 256): "4d618accbf096a04",
    ("wavy", 224, 224): "bb693f6060a271a8",
    ("wavy", 61, 50): "208fb2c4d0ca9703",
    ("wavy", 17, 33): "e190a31c9dfc2028",
    ("blocky", 256, 256): "413aae7aa2670b88",
    ("blocky", 224, 224): "ebfdc824d9325411",
    ("blocky", 61, 50): "5d91d2a8c791bdda",
    ("blocky", 17, 33): "ba8670a41a14dced",
}


def draw(kind: str, height: int, width: int) -> Picture:
    """Colours that rise and fall at several scales; or sharp edges, saturated colours and single pixels."""
    row, column, colour = np.ogrid[:height, :width, :3]
    wavy = (row * row * 3 + column * (7 + colour) + row * column * (colour + 1) // 5) // 4 % 256
    blocky = np.where((row // 11 + column // 13 + colour) % 3 == 0, 255, (row * 31 ^ column * 17) % (60 + colour))
    return (wavy if kind == "wavy" else blocky).astype(np.uint8)


def through_jpeg(picture: Picture) -> Picture:
    after: Picture = jpeg_pictures(torch.tensor(picture)[None])[0].numpy()
    return after


def through_pillow(picture: Picture) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, subsampling="4:2:0")
    return np.asarray(Image.open(file))


def apart(first: Picture, second: Picture) -> float:
    return float(np.abs(first.astype(int) - second).mean())


@pytest.mark.parametrize(("kind", "height", "width"), DIGESTS)
def test_pictures_are_tensorflows_to_the_bit(kind: str, height: int, width: int) -> None:
    after = through_jpeg(draw(kind, height, width))
    assert after.shape == (height, width, 3) and after.dtype == np.uint8
    assert hashlib.sha256(after.tobytes()).hexdigest()[:16] == DIGESTS[kind, height, width]


def test_on_a_picture_like_a_cameras_it_changes_little_and_pillow_agrees() -> None:
    picture = smooth_picture(256)
    assert 0.2 < apart(through_jpeg(picture), picture) < 2.0
    # Pillow's decoder takes the accurate inverse transform; TensorFlow's fast one rounds down.
    assert apart(through_jpeg(picture), through_pillow(picture)) < 1.5


def test_rows_do_not_depend_on_each_other() -> None:
    pictures = torch.tensor(np.stack([smooth_picture(64, seed) for seed in range(3)]))
    together = jpeg_pictures(pictures)
    assert all(torch.equal(together[i], jpeg_pictures(pictures[i : i + 1])[0]) for i in range(3))


def test_what_the_model_sees_is_the_file_of_the_mirrored_picture() -> None:
    picture = torch.tensor(smooth_picture(224))[None]
    plain, with_jpeg = (
        prepare_pictures(picture, ["siglip"], size=224, center_crop=False, jpeg=jpeg) for jpeg in (False, True)
    )
    mirrored_HWC = through_jpeg(picture[0].flip(1).numpy())
    expected = torch.tensor(mirrored_HWC).permute(2, 0, 1).float() / 127.5 - 1
    torch.testing.assert_close(with_jpeg[0], expected, rtol=0, atol=1e-5)
    assert 0.2 < 127.5 * (with_jpeg - plain).abs().mean() < 2.0


def test_a_policy_draws_and_scores_with_the_same_pictures_and_without_the_option_with_the_plain_ones(
    tmp_path: Path,
) -> None:
    plain, with_jpeg = tiny_openvla(tmp_path), tiny_openvla(tmp_path, jpeg=True)
    obs = openvla_input(plain, ["reach", "pick up the bowl"])
    sample = with_jpeg.sample(obs, greedy=True)
    scored = with_jpeg.log_prob(obs, sample.choices_NK).logp_NK
    torch.testing.assert_close(scored, sample.logp_NK, rtol=0, atol=1e-4)
    assert torch.equal(with_jpeg.log_prob(obs, sample.choices_NK).logp_NK, scored)
    assert not torch.equal(plain.log_prob(obs, sample.choices_NK).logp_NK, scored)
    by_hand = openvla_input(plain, ["reach", "pick up the bowl"])
    by_hand.agentview_NHWC.copy_(jpeg_pictures(obs.agentview_NHWC.flip(2)).flip(2))
    assert torch.equal(plain.log_prob(by_hand, sample.choices_NK).logp_NK, scored)
    (tmp_path / "saved").mkdir()
    with_jpeg.save(tmp_path / "saved")
    saved = load_policy(tmp_path / "saved")
    assert isinstance(saved, OpenVlaPolicy) and saved.settings.jpeg


def test_an_evaluation_takes_the_option_and_writes_it_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgrpo_trainer.evaluation.command.make_envs", make_toy_envs)
    folder = write_checkpoint(tmp_path / "published")
    arguments = [str(folder), "--image-size", "16", "--num-states", "1", "--states", "official", "--mode", "greedy"]
    arguments += ["--horizon", "2", "--device", "cpu", "--openvla.jpeg", "--out", str(tmp_path / "out")]
    assert main(["eval", *arguments]) == 0
    used = EvaluationFile.load(tmp_path / "out" / "evaluation.json").policy.openvla
    assert used is not None and used.jpeg and used.center_crop
