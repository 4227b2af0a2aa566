"""OpenVLA's action tokens and un-normalisation against numbers worked out by hand, and the published formulas."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.helpers.tiny_openvla import STATISTICS
from tgrpo_envs.errors import CheckpointError
from tgrpo_trainer.policy.openvla.actions import ActionCodec, Statistics, read_statistics

Q01 = (-0.5, -1.0, 0.0, -0.2, -0.2, -0.1, 0.0)
Q99 = (0.5, 1.0, 0.4, 0.2, 0.2, 0.3, 1.0)
SCALED = (True,) * 6 + (False,)
CODEC = ActionCodec(Statistics("made_up", Q01, Q99, SCALED), num_bins=256, vocab_end=32000)


def published_decode(ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """What the published model does with generated ids, and then its LIBERO evaluation with the gripper."""
    bins = np.linspace(-1, 1, 256)
    centres = (bins[:-1] + bins[1:]) / 2
    unit = centres[np.clip(32000 - ids - 1, 0, 254)]
    low, high = np.array(Q01), np.array(Q99)
    action = np.where(SCALED, 0.5 * (unit + 1) * (high - low) + low, unit)
    action[..., -1] = -np.sign(2 * action[..., -1] - 1)
    return action


def published_encode(actions: NDArray[np.float64]) -> NDArray[np.int64]:
    """The LIBERO transform, the normalisation and the tokenizer of the published training data."""
    actions = np.concatenate([actions[..., :6], 1 - np.clip(actions[..., 6:], 0, 1)], axis=-1)
    low, high = np.array(Q01), np.array(Q99)
    unit = np.where(SCALED, np.clip(2 * (actions - low) / (high - low + 1e-8) - 1, -1, 1), actions)
    ids: NDArray[np.int64] = 32000 - np.digitize(np.clip(unit, -1, 1), np.linspace(-1, 1, 256))
    return ids


def test_the_numbers_of_one_action_by_hand() -> None:
    # 256 edges from -1 to 1: bin b has its centre at (2 b + 1) / 255 - 1, so bins 0, 127, 254 at -254/255, 0, 254/255.
    tokens = torch.tensor([[127, 254, 0, 255, 127, 127, 254]])
    assert CODEC.token_ids(tokens).tolist() == [[31872, 31745, 31999, 31744, 31872, 31872, 31745]]
    expected = [0.0, 254 / 255, 0.2 / 255, 0.2 * 254 / 255, 0.0, 0.1, -1.0]  # gripper 254/255 is open, which is -1
    torch.testing.assert_close(CODEC.decode(tokens)[0, 0], torch.tensor(expected), rtol=0, atol=1e-6)
    assert CODEC.decode(torch.tensor([[127] * 7]))[0, 0, -1] == 1.0  # gripper 0 is closed, which is +1


def test_decoding_is_the_published_formula() -> None:
    tokens_NK = torch.randint(0, 256, (500, 14), generator=torch.Generator().manual_seed(0))
    ids = CODEC.token_ids(tokens_NK).numpy().reshape(500, 2, 7)
    np.testing.assert_allclose(CODEC.decode(tokens_NK).numpy(), np.clip(published_decode(ids), -1, 1), atol=1e-6)


def test_encoding_is_the_published_formula() -> None:
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.2, 1.2, (500, 2, 7)).clip(-1, 1).astype(np.float32)
    actions[:, :, -1] = np.sign(actions[:, :, -1])
    actions[0] = 1.0  # lands on the last edge: the token that has no bin of its own
    ids = CODEC.token_ids(CODEC.encode(torch.from_numpy(actions)))
    np.testing.assert_array_equal(ids.numpy(), published_encode(actions.astype(np.float64)).reshape(500, 14))


def test_encoding_undoes_decoding() -> None:
    tokens_NK = torch.arange(255)[:, None].repeat(1, 7)
    again_NK = CODEC.encode(CODEC.decode(tokens_NK))
    assert torch.equal(again_NK[:, :6], tokens_NK[:, :6])
    # The gripper keeps its side only: closed is 0 (bin 127 ends there), open is 1 (the last token).
    assert set(again_NK[:, 6].tolist()) == {127, 255}


def test_statistics_are_found_by_suite_and_a_fine_tuned_models_own_win() -> None:
    config = {"norm_stats": STATISTICS}
    assert read_statistics(config, None, "libero_object").key == "libero_object_no_noops"
    assert read_statistics(config, None, "libero_spatial").low == (-1.0,) * 7
    own = json.dumps({"libero_object": STATISTICS["libero_spatial"]}).encode()
    assert read_statistics(config, own, "libero_object").low == (-1.0,) * 7


def test_statistics_that_do_not_fit_are_refused_with_what_there_is() -> None:
    config = {"norm_stats": STATISTICS}
    with pytest.raises(CheckpointError, match=r"'libero_90'.*libero_object_no_noops, libero_spatial.*unnorm-key"):
        read_statistics(config, None, "libero_90")
    with pytest.raises(CheckpointError, match=r"dataset_statistics\.json"):
        read_statistics({}, None, "libero_object")
    with pytest.raises(CheckpointError, match="not JSON"):
        read_statistics({}, b"{", "libero_object")
    with pytest.raises(CheckpointError, match=r"of eval: --openvla\.unnorm-key"):
        read_statistics(config, None, "libero_90")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"q01": [0.0] * 6}, "q01 has 6 entries, not 7"),
        ({"q01": "1234567"}, "q01 is missing, or no list of 7 entries"),
        ({"q01": dict.fromkeys("1234567", 0.0)}, "q01 is missing, or no list"),
        ({"q99": None}, "q99 is missing, or no list"),
        ({"q99": [[1.0]] * 7}, r"q99 holds \[1\.0\]; its entries must be finite numbers"),
        ({"q99": [*Q99[:6], float("inf")]}, "q99 holds inf; its entries must be finite"),
        ({"q99": [*Q99[:6], float("nan")]}, "q99 holds nan; its entries must be finite"),
        ({"q99": [*Q99[:6], 10**400]}, "q99 holds 10+; its entries must be finite"),
        ({"q01": [True] * 7}, "q01 holds True; its entries must be finite"),
        ({"q01": list(Q99), "q99": list(Q01)}, r"entry 0 of q01 is 0\.5, above that of q99, -0\.5"),
        ({"mask": [True] * 6}, "mask has 6 entries, not 7"),
        ({"mask": ["false"] * 7}, "mask holds 'false'; its entries must be true, false, 1 or 0"),
        ({"mask": [2] * 7}, "mask holds 2; its entries"),
    ],
)
def test_statistics_of_another_form_are_refused_by_file_field_and_value(changes: dict[str, Any], said: str) -> None:
    action = {"q01": list(Q01), "q99": list(Q99), "mask": list(SCALED), **changes}
    beside = json.dumps({"mine": {"action": action}}).encode()
    match = rf"^The action statistics of 'mine' in dataset_statistics\.json: {said}"
    with pytest.raises(CheckpointError, match=match):
        read_statistics({}, beside, "mine")
    with pytest.raises(CheckpointError, match=rf"in norm_stats of config\.json: {said}"):
        read_statistics({"norm_stats": {"mine": {"action": action}}}, None, "mine")


@pytest.mark.parametrize("known", [{"mine": {}}, {"mine": {"action": [1.0]}}, {"mine": "action"}])
def test_statistics_that_are_not_there_are_missed(known: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"'mine' are malformed: norm_stats of config\.json has no object"):
        read_statistics({"norm_stats": known}, None, "mine")


def test_a_mask_may_be_of_zeros_and_ones_and_quantiles_may_be_equal() -> None:
    action = {"q01": [0] * 7, "q99": [0] * 6 + [1], "mask": [1] * 6 + [0]}
    found = read_statistics({"norm_stats": {"mine": {"action": action}}}, None, "mine")
    assert found == Statistics("mine", (0.0,) * 7, (0.0,) * 6 + (1.0,), SCALED)


def test_a_mask_that_is_not_there_scales_everything() -> None:
    action = {"q01": list(Q01), "q99": list(Q99)}
    assert read_statistics({"norm_stats": {"a": {"action": action}}}, None, "a").scaled == (True,) * 7
