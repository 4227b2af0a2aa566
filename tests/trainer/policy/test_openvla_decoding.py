"""The decoding loop: shapes that never change, memory that is kept and given back, a compiled step like a plain one."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.tiny_openvla import TINY, openvla_input, tiny_openvla
from tgrpo_trainer.policy.openvla.decoding import PLACES_MULTIPLE
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy

TEXTS = ["pick up the bowl", "Reach the middle", "pick up the red bowl", "reach"]
HEADS = 4


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def keys_of(policy: OpenVlaPolicy) -> list[Tensor]:
    """What the cache keeps, one per layer."""
    assert policy.decoder._cache is not None
    return [keys for keys in policy.decoder._cache._keys if keys is not None]


def memory_of(policy: OpenVlaPolicy) -> list[int]:
    """Addresses of the cache's memory, one per layer."""
    return [keys.data_ptr() for keys in keys_of(policy)]


def test_every_step_has_the_same_shapes(tmp_path: Path) -> None:
    policy = tiny_openvla(tmp_path).eval()
    seen: list[tuple[torch.Size, Tensor]] = []
    attention = policy.model.language_model.model.layers[0].self_attn
    attention.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((kwargs["hidden_states"].shape, kwargs["attention_mask"])), with_kwargs=True
    )
    obs = openvla_input(policy, TEXTS)
    policy.sample(obs, generator=seeded())
    prefix = obs.instruction_NL.shape[1] + 4  # as many patches
    capacity = -(-(prefix + 6) // PLACES_MULTIPLE) * PLACES_MULTIPLE
    assert seen[0][0] == (4, prefix, TINY.width) and seen[0][1].shape == (4, 1, prefix, prefix)
    assert [tuple(shape) for shape, _ in seen[1:]] == [(4, 1, TINY.width)] * 6
    assert [tuple(mask.shape) for _, mask in seen[1:]] == [(4, 1, 1, capacity)] * 6
    # Step k sees its own place and those before it, whatever stands behind.
    for k, (_, mask) in enumerate(seen[1:]):
        longest = obs.instruction_NL[2].count_nonzero() == obs.instruction_NL.shape[1]
        assert longest and int((mask[2] == 0).sum()) == prefix + k + 1
        assert torch.isinf(mask[:, 0, 0, prefix + k + 1 :]).all()
    assert keys_of(policy)[0].shape == (4, HEADS, capacity, TINY.width // HEADS)


def test_memory_is_kept_for_the_next_decision_and_leaves_no_trace_in_it(tmp_path: Path) -> None:
    policy = tiny_openvla(tmp_path).eval()
    obs, other = openvla_input(policy, TEXTS), openvla_input(policy, TEXTS[::-1], seed=5)
    first = policy.sample(obs, generator=seeded())
    kept = memory_of(policy)
    policy.sample(other, generator=seeded(2))
    fewer = policy.sample(obs.rows(slice(0, 2)), greedy=True)
    policy.sample(openvla_input(policy, ["reach"]), greedy=True)
    again = policy.sample(obs, generator=seeded())
    assert memory_of(policy) == kept
    assert torch.equal(again.choices_NK, first.choices_NK) and torch.equal(again.logp_NK, first.logp_NK)
    fresh = copy.deepcopy(policy)
    assert fresh.decoder._cache is None and fresh.decoder is not policy.decoder
    assert torch.equal(fresh.sample(obs.rows(slice(0, 2)), greedy=True).choices_NK, fewer.choices_NK)
    policy.train()
    assert policy.decoder._cache is None


def test_memory_follows_the_weights_type(tmp_path: Path) -> None:
    policy = tiny_openvla(tmp_path).eval()
    obs = openvla_input(policy, TEXTS)
    exact = policy.sample(obs, greedy=True)
    policy.model.double()
    again = policy.sample(obs, greedy=True)
    assert torch.equal(again.choices_NK, exact.choices_NK)
    torch.testing.assert_close(again.logp_NK, exact.logp_NK, rtol=0, atol=1e-5)
    assert keys_of(policy)[0].dtype == torch.float64


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_step_draws_the_same_tokens(tmp_path: Path) -> None:
    plain, compiled = tiny_openvla(tmp_path / "plain"), tiny_openvla(tmp_path / "compiled", compile=True)
    obs = openvla_input(plain, TEXTS)
    compiled.eval()
    compiled.sample(obs, generator=seeded())
    with torch._dynamo.config.patch(error_on_recompile=True):
        for rows in (slice(0, 4), slice(0, 3), slice(3, 4)):  # fewer rows, and a shorter prompt, are filled up
            ours = compiled.sample(obs.rows(rows), generator=seeded())
            theirs = plain.sample(obs.rows(rows), generator=seeded())
            assert torch.equal(ours.choices_NK, theirs.choices_NK)
            torch.testing.assert_close(ours.logp_NK, theirs.logp_NK, rtol=0, atol=1e-5)
    kept = memory_of(compiled)
    compiled.train()
    assert memory_of(compiled) == kept
