"""OpenVLA-OFT whole: two pictures, the robot's state and the L1 head, beside the authors' prediction written out."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.helpers import official_oft
from tests.helpers.tiny_oft import FILM_FILE, HEAD_FILE, PROPRIO_FILE, STEP, tiny_oft, write_oft
from tests.helpers.tiny_openvla import STATISTICS, openvla_input, tiny_weights
from tgrpo_envs.bridges.libero import proprio
from tgrpo_envs.errors import CheckpointError, ConfigError
from tgrpo_trainer.policy import load_policy
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings
from tgrpo_trainer.types import PolicyInput

TEXTS = ["pick up the bowl", "reach the middle", "reach"]
STATES = np.array(
    [
        [-0.1, 0.2, 0.9, 3.1, 0.3, -0.2, 0.03, -0.03],
        [0.1, -0.2, 1.2, 2.2, -1.9, 0.4, 0.01, -0.012],  # above the table's quantile
        [-0.1, 0.0, 0.5, 3.4, 0.1, 0.6, 0.04, -0.04],  # an angle beyond pi
    ]
)
PLAIN: dict[str, Any] = {"image_size": 28, "center_crop": False}
"""Pictures of the towers' own size, so that nothing is left of the pipeline but mirroring and normalising."""


def seen(policy: OpenVlaPolicy, texts: list[str] = TEXTS) -> PolicyInput:
    obs = openvla_input(policy, texts)
    proprio_NP = torch.tensor(np.stack([proprio(state_8, -1.0) for state_8 in STATES[: len(texts)]]))
    return dataclasses.replace(obs, proprio_NP=proprio_NP)


def official(
    folder: Path, obs: PolicyInput, row: int, key: str = "libero_object_no_noops", **options: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    prompt = obs.instruction_NL[row]
    pictures = [images[row].numpy()[:, ::-1] for images in (obs.agentview_NHWC, obs.wrist_NHWC)]
    return official_oft.predict(folder, pictures, prompt[prompt != 0].tolist(), STATES[row], key, **options)


def test_numbers_and_actions_are_the_authors(tmp_path: Path) -> None:
    policy = tiny_oft(tmp_path, **PLAIN).eval()
    assert (policy.model.architecture.num_pictures, policy.model.architecture.proprio_dim) == (2, 8)
    obs = seen(policy)
    sample = policy.sample(obs, greedy=True)
    assert sample.choices_NK.shape == (3, 56) and sample.choices_NK.dtype == torch.float32
    for row in range(len(TEXTS)):
        numbers, actions = official(tmp_path, obs, row)
        np.testing.assert_allclose(sample.choices_NK[row].view(8, 7), numbers, rtol=0, atol=2e-5)
        np.testing.assert_allclose(sample.actions_NCA[row], actions.clip(-1, 1), rtol=0, atol=2e-5)
    assert set(sample.actions_NCA[..., 6].flatten().tolist()) <= {-1.0, 1.0}


def test_with_film_too(tmp_path: Path) -> None:
    """The prompt modulates both towers; the file is saved as the authors' reader wants it, with adapters of zeros."""
    policy, saved = tiny_oft(tmp_path / "published", film=True, **PLAIN).eval(), tmp_path / "saved"
    obs = seen(policy)
    sample = policy.sample(obs, greedy=True)
    for row in range(len(TEXTS)):
        numbers, _ = official(tmp_path / "published", obs, row, use_film=True)
        np.testing.assert_allclose(sample.choices_NK[row].view(8, 7), numbers, rtol=0, atol=5e-5)
        without, _ = official(tmp_path / "published", obs, row)
        assert np.abs(numbers - without).max() > 0.01
    saved.mkdir()
    policy.save(saved)
    theirs, ours = (torch.load(folder / FILM_FILE, weights_only=True) for folder in (tmp_path / "published", saved))
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}
    assert {name for name in official_oft.read_state(saved) if "/" not in name} == tiny_weights().keys()
    numbers, _ = official(saved, obs, 0, use_film=True)
    np.testing.assert_allclose(sample.choices_NK[0].view(8, 7), numbers, rtol=0, atol=5e-5)
    assert torch.equal(load_policy(saved).sample(obs, greedy=True).choices_NK, sample.choices_NK)
    policy.train().log_prob(obs, sample.choices_NK + 0.1).logp_NK.sum().backward()
    blocks = policy.model.vision_backbone.featurizer.blocks
    first, last = (block.get_parameter("scale.weight").grad for block in (blocks[0], blocks[-1]))
    assert first is not None and first.abs().max() > 0 and last is None


@pytest.mark.parametrize("name", ["agentview_NHWC", "wrist_NHWC", "proprio_NP", "instruction_NL"])
def test_it_sees_everything(tmp_path: Path, name: str) -> None:
    policy = tiny_oft(tmp_path)
    obs, other = seen(policy), openvla_input(policy, TEXTS[::-1], seed=9)
    changed = dataclasses.replace(obs, **{name: getattr(other, name)})
    before, after = (policy.sample(each, greedy=True).choices_NK for each in (obs, changed))
    assert (before - after).abs().max() > 1e-4


def test_rows_do_not_see_their_neighbours_or_padding(tmp_path: Path) -> None:
    policy = tiny_oft(tmp_path)
    obs = seen(policy)
    whole = policy.sample(obs, greedy=True).choices_NK
    for row, text in enumerate(TEXTS):
        alone = dataclasses.replace(obs.rows(slice(row, row + 1)), instruction_NL=policy.encode_instructions([text]))
        torch.testing.assert_close(policy.sample(alone, greedy=True).choices_NK[0], whole[row], rtol=0, atol=1e-5)


def test_saved_in_the_authors_layout(tmp_path: Path) -> None:
    policy, saved = tiny_oft(tmp_path / "published", **PLAIN), tmp_path / "saved"
    saved.mkdir()
    policy.save(saved)
    expected = {path.name for path in (tmp_path / "published").iterdir()} | {"tgrpo.json", "action_scale.safetensors"}
    written = {path.name for path in saved.iterdir()}
    assert {name for name in written if not name.startswith("model-")} == {
        name for name in expected if not name.startswith("model-")
    }
    for name in (HEAD_FILE, PROPRIO_FILE):
        theirs = torch.load(tmp_path / "published" / name, weights_only=True)
        ours = torch.load(saved / name, weights_only=True)
        theirs = {key.removeprefix("module."): value for key, value in theirs.items()}  # as the authors' reader does
        assert list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)
    shards = official_oft.read_state(saved)
    assert {name for name in shards if "/" not in name} == tiny_weights().keys()
    again, obs = load_policy(saved), seen(policy)
    assert torch.equal(again.sample(obs, greedy=True).actions_NCA, policy.sample(obs, greedy=True).actions_NCA)
    numbers, _ = official(saved, obs, 0)
    np.testing.assert_allclose(again.sample(obs, greedy=True).choices_NK[0].view(8, 7), numbers, rtol=0, atol=2e-5)


def test_in_bfloat16_the_parts_follow_the_shards(tmp_path: Path) -> None:
    rough = tiny_oft(tmp_path, dtype="bfloat16")
    assert {parameter.dtype for parameter in rough.parameters()} == {torch.bfloat16}
    sample = rough.sample(seen(rough), greedy=True)
    assert sample.choices_NK.dtype == sample.logp_NK.dtype == torch.float32
    exact = OpenVlaPolicy.load(tmp_path, rough.settings)
    torch.testing.assert_close(sample.choices_NK, exact.sample(seen(exact), greedy=True).choices_NK, rtol=0, atol=0.2)


@pytest.mark.parametrize(("said", "chosen", "pictures"), [(None, None, 2), (1, None, 1), (None, 1, 1), (2, 1, 1)])
def test_the_number_of_pictures(tmp_path: Path, said: int | None, chosen: int | None, pictures: int) -> None:
    config: dict[str, Any] = {} if said is None else {"num_images_in_input": said}
    write_oft(tmp_path, **config)
    settings = OpenVlaSettings("libero_object", 32, 8, decoding="parallel", num_pictures=chosen)
    policy = OpenVlaPolicy.load(tmp_path, settings)
    obs, other = seen(policy), openvla_input(policy, TEXTS, seed=9)
    changed = dataclasses.replace(obs, wrist_NHWC=other.wrist_NHWC)
    same = torch.equal(policy.sample(obs, greedy=True).choices_NK, policy.sample(changed, greedy=True).choices_NK)
    assert same == (pictures == 1)


class Opener:
    """What a pickle could do."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, ("it_ran", "w")


def pickle_more_than_tensors(folder: Path) -> None:
    torch.save({"model.fc1.weight": Opener()}, folder / HEAD_FILE)


def cut_the_head(folder: Path) -> None:
    content = (folder / HEAD_FILE).read_bytes()
    (folder / HEAD_FILE).write_bytes(content[: len(content) // 2])


def store_a_list(folder: Path) -> None:
    torch.save([torch.zeros(2)], folder / HEAD_FILE)


def lose_the_head(folder: Path) -> None:
    (folder / HEAD_FILE).unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "use_l1_regression": True}))


def lose_film(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "use_film": True}))


def keep_two_heads(folder: Path) -> None:
    shutil.copy(folder / HEAD_FILE, folder / "action_head--latest_checkpoint.pt")


def take_another_width(folder: Path) -> None:
    state = torch.load(folder / PROPRIO_FILE)
    torch.save({**state, "fc2.weight": torch.zeros(3, 3)}, folder / PROPRIO_FILE)


def take_another_robot(folder: Path) -> None:
    state = torch.load(folder / PROPRIO_FILE)
    torch.save({**state, "fc1.weight": torch.zeros(32, 14)}, folder / PROPRIO_FILE)


def lose_a_tensor(folder: Path) -> None:
    state = torch.load(folder / HEAD_FILE)
    state.pop("module.model.fc2.bias")
    torch.save(state, folder / HEAD_FILE)


def diffuse(folder: Path) -> None:
    torch.save({"noise_predictor.mlp_resnet.fc1.weight": torch.zeros(2)}, folder / HEAD_FILE)


def lose_the_states_statistics(folder: Path) -> None:
    (folder / "dataset_statistics.json").write_text(json.dumps(STATISTICS))


def take_three_pictures(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_images_in_input": 3}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (pickle_more_than_tensors, "holds more than tensors and is therefore not read"),
        (cut_the_head, f"action_head--{STEP}_checkpoint.pt is damaged"),
        (store_a_list, "does not hold tensors by name"),
        (lose_the_head, r"says use_l1_regression, but no action_head--\*_checkpoint\.pt lies beside it"),
        (lose_film, r"says use_film, but no vision_backbone--\*_checkpoint\.pt lies beside it"),
        (keep_two_heads, "leave the one that is to be used"),
        (take_another_width, r"proprio_projector\.fc2\.weight is \(3, 3\), not \(32, 32\)"),
        (take_another_robot, "takes 14 numbers of the robot's state"),
        (lose_a_tensor, r"missing: action_head\.model\.fc2\.bias"),
        (diffuse, "diffusion head"),
        (lose_the_states_statistics, "proprio statistics of 'libero_object_no_noops' are malformed"),
        (take_three_pictures, "the environment has 2 cameras"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_oft(tmp_path / "oft")
    damage(folder)
    with pytest.raises(CheckpointError, match=said) as caught:
        OpenVlaPolicy.load(folder, OpenVlaSettings("libero_object", 32, 8, decoding="parallel"))
    assert "\n" not in str(caught.value) and not (tmp_path / "it_ran").exists()


def test_an_l1_head_decides_a_chunk_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--openvla\.decoding parallel --action-chunk 8"):
        OpenVlaPolicy.load(write_oft(tmp_path), OpenVlaSettings("libero_object"))
