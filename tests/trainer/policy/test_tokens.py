"""Action bins, the distribution over them, and instruction words as ids."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tgrpo_envs.errors import ConfigError
from tgrpo_trainer.policy.text import hash_words
from tgrpo_trainer.policy.tokens import ActionBins, choose, draw, hold, score


def test_known_bins() -> None:
    bins = ActionBins.spaced(5)
    assert bins.centres_V.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    actions_NCA = torch.tensor([[[-1.0, -0.7, -0.2, 0.0, 0.3, 0.8, 1.0]]])
    tokens_NK = bins.encode(actions_NCA)
    assert tokens_NK.tolist() == [[0, 1, 2, 2, 3, 4, 4]]
    assert bins.decode(tokens_NK).tolist() == [[[-1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 1.0]]]
    assert bins.encode(torch.full((1, 1, 7), 3.0)).tolist() == [[4] * 7]


@pytest.mark.parametrize("num_bins", [2, 21, 64, 255, 256])
def test_every_token_survives_a_round_trip_and_every_action_lands_nearest(num_bins: int) -> None:
    bins = ActionBins.spaced(num_bins)
    tokens_NK = torch.arange(num_bins).repeat_interleave(7).view(num_bins, 7)
    assert torch.equal(bins.encode(bins.decode(tokens_NK)), tokens_NK)
    actions_NCA = torch.rand(100, 3, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    error = (bins.decode(bins.encode(actions_NCA)) - actions_NCA).abs().max()
    assert error <= 1.0 / (num_bins - 1) + 1e-6
    assert {-1.0, 1.0} <= set(bins.centres_V.tolist())


def test_a_chunk_is_flattened_step_by_step() -> None:
    # Token k belongs to control step k // 7: the first seven tokens are the first action.
    actions_NCA = torch.stack([torch.full((7,), -1.0), torch.full((7,), 1.0)])[None]
    assert ActionBins.spaced(3).encode(actions_NCA).tolist() == [[0] * 7 + [2] * 7]


def test_a_power_above_one_puts_bins_around_zero() -> None:
    # Even centres -1 -0.5 0 0.5 1, squared with their sign.
    assert ActionBins.spaced(5, 2.0).centres_V.tolist() == [-1.0, -0.25, 0.0, 0.25, 1.0]


def test_impossible_bins_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        ActionBins.spaced(1)
    with pytest.raises(ConfigError, match="above 0"):
        ActionBins.spaced(5, 0.0)


def test_held_actions_are_mean_motions_and_the_grippers_majority() -> None:
    # Four steps in windows of two. Motion: (0 + 1) / 2 and (-1 + 0.5) / 2. Gripper: closes twice; a tie takes the last.
    motion = [0.0, 1.0, -1.0, 0.5]
    gripper = [1.0, 1.0, 1.0, -1.0]
    actions_NCA = torch.tensor([[[value] * 6 + [grip] for value, grip in zip(motion, gripper, strict=True)]])
    held_NCA = hold(actions_NCA, 2)
    assert held_NCA.tolist() == [[[0.5] * 6 + [1.0], [-0.25] * 6 + [-1.0]]]
    # Three of four: open, though the mean is only a half.
    actions_NCA[0, :, 6] = torch.tensor([-1.0, -1.0, 1.0, -1.0])
    assert hold(actions_NCA, 4)[0, 0, 6] == -1.0
    assert torch.equal(hold(actions_NCA, 1), actions_NCA)


def test_known_probabilities() -> None:
    # Logits 0 and log 3: at T = 1 probabilities 1/4 and 3/4; at T = 2 they are 1 and sqrt 3 over their sum.
    logits_NKV = torch.tensor([0.0, math.log(3.0)]).expand(1, 7, 2)
    tokens_NK = torch.tensor([[0, 1, 0, 1, 0, 1, 0]])
    scored = score(logits_NKV, tokens_NK, 1.0)
    assert scored.logp_NK[0, :2].exp().tolist() == pytest.approx([0.25, 0.75])
    assert scored.entropy_NK[0, 0].item() == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))
    assert scored.greedy_NK.tolist() == [[False, True] * 3 + [False]]
    warm = score(logits_NKV, tokens_NK, 2.0)
    assert warm.logp_NK[0, 0].exp().item() == pytest.approx(1 / (1 + math.sqrt(3)))


def test_drawing_is_multinomials_number_for_number() -> None:
    logits_NKV = torch.randn(50, 7, 21, generator=torch.Generator().manual_seed(0))
    drawn, logp = choose(logits_NKV, temperature=1.3, greedy=False, generator=torch.Generator().manual_seed(1))
    probabilities = torch.softmax(logits_NKV / 1.3, dim=-1)
    expected = torch.multinomial(probabilities.flatten(0, 1), 1, generator=torch.Generator().manual_seed(1))
    assert torch.equal(drawn, expected.view(50, 7))
    torch.testing.assert_close(logp.exp(), probabilities.gather(-1, drawn[..., None])[..., 0])


def test_a_row_with_its_own_generator_draws_alike_in_any_company() -> None:
    logits_NKV = torch.randn(5, 7, 21, generator=torch.Generator().manual_seed(0))

    def drawn(rows: Tensor) -> Tensor:
        own = [torch.Generator().manual_seed(int(row)) for row in rows]
        return choose(logits_NKV[rows], temperature=1.0, greedy=False, generator=own)[0]

    together = drawn(torch.arange(5))
    assert torch.equal(drawn(torch.tensor([3, 1])), together[[3, 1]])
    assert torch.equal(
        choose(logits_NKV[2:3], temperature=1.0, greedy=False, generator=torch.Generator().manual_seed(2))[0][0],
        together[2],
    )
    with pytest.raises(ValueError, match="shorter"):
        choose(logits_NKV, temperature=1.0, greedy=False, generator=[torch.Generator()])


def test_drawing_follows_the_probabilities_and_reports_them() -> None:
    bins = ActionBins.spaced(3)
    logits_NKV = torch.tensor([0.0, 1.0, 2.0]).expand(3000, 7, 3)
    generator = torch.Generator().manual_seed(0)
    sample = draw(logits_NKV, bins, temperature=1.0, greedy=False, generator=generator)
    shares = torch.bincount(sample.choices_NK.flatten(), minlength=3) / sample.choices_NK.numel()
    torch.testing.assert_close(shares, torch.softmax(torch.tensor([0.0, 1.0, 2.0]), 0), atol=0.01, rtol=0)
    assert torch.equal(score(logits_NKV, sample.choices_NK, 1.0).logp_NK, sample.logp_NK)
    assert sample.actions_NCA.shape == (3000, 1, 7) and sample.actions_NCA.dtype == torch.float32

    greedy = draw(logits_NKV, bins, temperature=5.0, greedy=True, generator=None)
    assert (greedy.choices_NK == 2).all()


def test_log_probabilities_are_float32_even_from_a_bfloat16_model() -> None:
    logits_NKV = torch.randn(4, 7, 5).bfloat16()
    assert score(logits_NKV, torch.zeros(4, 7, dtype=torch.int64), 1.0).logp_NK.dtype == torch.float32


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_an_impossible_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        score(torch.zeros(1, 7, 2), torch.zeros(1, 7, dtype=torch.int64), temperature)


def test_words_become_stable_ids() -> None:
    ids_NL = hash_words(["Pick up the soup!", "the SOUP"], 1024)
    assert ids_NL.shape == (2, 4) and ids_NL.dtype == torch.int64
    assert ids_NL[1].tolist() == [ids_NL[0, 2], ids_NL[0, 3], 0, 0]
    assert int(ids_NL[0].min()) >= 1 and int(ids_NL.max()) < 1024
    # "the" has CRC-32 0x3C456DE6, in every process and on every machine: 1 + 0x3C456DE6 % 1023 = 775. Saved policies
    # rely on it.
    assert ids_NL[1, 0].item() == 775


def test_an_instruction_without_words_is_refused() -> None:
    with pytest.raises(ConfigError, match="no word"):
        hash_words(["..."], 1024)
