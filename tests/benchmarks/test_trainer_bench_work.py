"""Operations and bytes: by hand for the 7B model, and as torch counts them at tiny size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.trainer.subject import get_size
from benchmarks.trainer.work import (
    Decision,
    cache_bytes,
    decision_phases,
    forward_flops,
    head_weights,
    llama_flops,
    llama_weights,
    projector_weights,
    tower_flops,
    tower_weights,
    update_flops,
    vision_flops,
)
from tests.helpers.tiny_openvla import FULL, TINY, openvla_input, published_shapes, tiny_config, tiny_openvla
from tgrpo_trainer.policy.openvla.architecture import read_architecture
from tgrpo_trainer.policy.openvla.decoding import teacher_forced_logits
from tgrpo_trainer.policy.openvla.model import OpenVlaModel
from tgrpo_trainer.policy.openvla.pictures import prepare_pictures
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.types import PolicyInput

TEXTS = ["pick up the bowl"] * 3
SEVEN = get_size("7b").architecture

Tiny = tuple[OpenVlaPolicy, PolicyInput, Tensor]
"""A policy, what it sees, and its pictures as the model takes them."""


def counted(function: Callable[[], object]) -> int:
    """Operations torch counts. Its counter knows attention kernels of GPUs only, so attention is cut into products."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    flops: int = counter.get_total_flops()
    return flops


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    policy = tiny_openvla(tmp_path).eval()
    obs = openvla_input(policy, TEXTS)
    pixels = prepare_pictures(obs.agentview_NHWC, policy.towers, size=28, center_crop=True)
    return policy, obs, pixels


def test_the_7b_model_by_hand() -> None:
    assert read_architecture(tiny_config(FULL), published_shapes(FULL)) == SEVEN
    # A layer: four matrices of 4096 x 4096 and three of 4096 x 11008; 32 layers.
    assert llama_weights(SEVEN) == 32 * (4 * 16_777_216 + 3 * 45_088_768) == 6_476_005_376
    # A place that sees 290: twice that, and two products with 290 keys or values of 4096 numbers in each layer.
    assert llama_flops(SEVEN, 1, 290) == 12_952_010_752 + 32 * 2 * 2 * 290 * 4096 == 13_104_054_272
    # DINOv2: 23 blocks of 12,582,912 weights on 261 tokens, their attention, and 256 patches of 588 numbers.
    assert tower_flops(SEVEN.towers[0]) == 23 * (6_568_280_064 + 279_023_616) + 308_281_344 == 157_796_265_984
    assert tower_flops(SEVEN.towers[1]) == 26 * (7_795_113_984 + 301_989_888) + 346_816_512 == 210_871_517_184
    assert projector_weights(SEVEN) == 18_939_904 + 35_651_584 + 16_777_216
    assert vision_flops(SEVEN) == 157_796_265_984 + 210_871_517_184 + 512 * 71_368_704
    # A place's keys and values: 2 x 32 layers x 4096 numbers of two bytes, half a mebibyte.
    assert cache_bytes(SEVEN, 1, 2) == 524_288


def test_the_phases_of_a_7b_decision_by_hand() -> None:
    phases = decision_phases(SEVEN, Decision(rows=8, places=290, tokens=7, image_size=256, element_bytes=2))
    head = 256 * 4096
    assert phases["pictures"].nbytes == 8 * (3 * 256 * 256 + 6 * 224 * 224 * 4)
    assert phases["vision"].flops == 8 * 405_208_559_616
    assert phases["prefill"].flops == 8 * (290 * 12_952_010_752 + 290 * 290 * 524_288)
    assert phases["prefill"].nbytes == 2 * 6_476_005_376 + 8 * 290 * 524_288
    # Six steps, which see 291 to 296 places, 1761 together, and seven logits.
    assert phases["decode"].flops == 8 * (6 * 12_952_010_752 + 14 * head + 1761 * 524_288)
    assert phases["decode"].nbytes == 2 * (6 * 6_476_005_376 + 7 * head) + 8 * 1761 * 524_288


def test_weights_are_those_of_the_modules_that_run(tiny: Tiny) -> None:
    policy, _, _ = tiny
    model, architecture = policy.model, policy.model.architecture

    def matrices(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters() if p.ndim > 1)

    for tower, shape in zip(model.vision_backbone.towers, architecture.towers, strict=True):
        run = [tower.patch_embed, *list(tower.blocks)[:-1]]
        assert tower_weights(shape) == sum(matrices(module) for module in run)
    assert projector_weights(architecture) == matrices(model.projector)
    assert llama_weights(architecture) == matrices(model.language_model.model.layers)
    assert head_weights(architecture) == model.token_head().numel()


def test_torch_counts_the_same_forward_and_backward(tiny: Tiny) -> None:
    policy, obs, pixels = tiny
    model, architecture = policy.model, policy.model.architecture
    tokens_NK = policy.codec.token_ids(torch.full((3, 7), 100))
    logits: list[Tensor] = []

    def forward() -> None:
        logits.append(teacher_forced_logits(model, model.prefix(pixels, obs.instruction_NL), tokens_NK))

    places = obs.instruction_NL.shape[1] + 4
    expected = 3 * forward_flops(architecture, places, 7)
    assert counted(forward) == expected
    # Twice as much backward, but for the gradients of the pictures, which nobody needs.
    of_pictures = 3 * sum(2 * 4 * 3 * 14**2 * tower.dim for tower in architecture.towers)
    assert counted(lambda: logits[-1].sum().backward()) == 2 * expected - of_pictures
    assert update_flops(architecture, places, 7, backward=2.0) == 3 * forward_flops(architecture, places, 7)


def test_torch_counts_the_same_phases(tiny: Tiny) -> None:
    policy, obs, pixels = tiny
    model, architecture = policy.model, policy.model.architecture
    places = obs.instruction_NL.shape[1] + 4
    work = decision_phases(architecture, Decision(3, places, 7, policy.image_size, 4))
    with torch.no_grad():
        prefix = model.prefix(pixels, obs.instruction_NL)
        assert counted(lambda: model.prefix(pixels, obs.instruction_NL)) == work["vision"].flops
        started = policy.decoder.start(model, prefix, 7)
        assert counted(lambda: policy.decoder.start(model, prefix, 7)) == work["prefill"].flops

        def draw_next(logits_NV: Tensor) -> Tensor:
            return model.embed(policy.codec.token_ids(logits_NV.argmax(-1)))

        steps = counted(lambda: policy.decoder.finish(model, started, draw_next))
    # The steps compute what the mask hides too, up to the cache's capacity.
    cache = policy.decoder._cache
    assert cache is not None
    hidden = sum(cache.capacity - (places + k) for k in range(1, 7))
    assert steps == work["decode"].flops + 3 * 4 * hidden * TINY.width * TINY.layers
    kept = sum(memory.nbytes for memory in [*cache._keys, *cache._values] if memory is not None)
    assert kept == 3 * cache_bytes(architecture, cache.capacity, 4)


@pytest.mark.slow
def test_torch_counts_the_same_at_full_size() -> None:
    with torch.device("meta"):
        model = OpenVlaModel(SEVEN)
        pixels, prompt = torch.empty(1, 6, 224, 224), torch.ones(1, 34, dtype=torch.int64)
        flops = counted(
            lambda: teacher_forced_logits(model, model.prefix(pixels, prompt), torch.ones(1, 7, dtype=torch.int64))
        )
    assert flops == forward_flops(SEVEN, 290, 7)
