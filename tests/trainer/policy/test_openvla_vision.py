"""OpenVLA's vision towers beside transformers' own DINOv2 (with registers) and SigLIP, with the same weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel, SiglipVisionConfig, SiglipVisionModel

from tgrpo_trainer.policy.openvla.vision import TowerShape, VisionBackbone, VisionTower

DINO = TowerShape("dinov2", dim=32, depth=3, mlp_dim=128, patch=14, num_patches=9, num_registers=4)
SIGLIP = TowerShape("siglip", dim=48, depth=3, mlp_dim=56, patch=14, num_patches=9)


def random_tower(shape: TowerShape) -> VisionTower:
    generator = torch.Generator().manual_seed(0)
    tower = VisionTower(shape)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return tower.eval()


def split_qkv(state: dict[str, Tensor], old: str, new: list[str]) -> dict[str, Tensor]:
    parts = {}
    for kind in ("weight", "bias"):
        for name, part in zip(new, state[f"{old}.{kind}"].chunk(3), strict=True):
            parts[f"{name}.{kind}"] = part
    return parts


def both(state: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {f"{new}.{kind}": state[f"{old}.{kind}"] for kind in ("weight", "bias")}


def dinov2_of_transformers(state: dict[str, Tensor]) -> nn.Module:
    """DINOv2 adds a position to the class token too; OpenVLA's tower does not, so it gets a position of 0."""
    config = Dinov2WithRegistersConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=16, mlp_ratio=4, image_size=42, patch_size=14
    )
    theirs: nn.Module = Dinov2WithRegistersModel(config)
    weights = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.register_tokens": state["reg_token"],
        "embeddings.position_embeddings": torch.cat([torch.zeros(1, 1, 32), state["pos_embed"]], dim=1),
        "embeddings.mask_token": torch.zeros(1, 32),
        **both(state, "patch_embed.proj", "embeddings.patch_embeddings.projection"),
        **both(state, "norm", "layernorm"),
    }
    for i in range(3):
        ours, theirs_i = f"blocks.{i}", f"encoder.layer.{i}"
        names = [f"{theirs_i}.attention.{one}_proj" for one in "qkv"]
        weights |= split_qkv(state, f"{ours}.attn.qkv", names)
        weights |= both(state, f"{ours}.attn.proj", f"{theirs_i}.attention.o_proj")
        for one in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
            weights |= both(state, f"{ours}.{one}", f"{theirs_i}.{one}")
        weights |= {f"{theirs_i}.layer_scale{n}.lambda1": state[f"{ours}.ls{n}.scale_factor"] for n in (1, 2)}
    theirs.load_state_dict(weights)
    return theirs.eval()


def siglip_of_transformers(state: dict[str, Tensor]) -> nn.Module:
    config = SiglipVisionConfig(
        hidden_size=48,
        intermediate_size=56,
        num_hidden_layers=3,
        num_attention_heads=16,
        image_size=42,
        patch_size=14,
        hidden_act="gelu",  # timm's SigLIP at the published version has the exact GELU, not its tanh form
    )
    theirs: nn.Module = SiglipVisionModel(config)
    prefix = "" if any(name.startswith("embeddings.") for name in theirs.state_dict()) else "vision_model."
    weights = {
        **both(state, "patch_embed.proj", "embeddings.patch_embedding"),
        "embeddings.position_embedding.weight": state["pos_embed"][0],
    }
    for i in range(3):
        ours, theirs_i = f"blocks.{i}", f"encoder.layers.{i}"
        weights |= split_qkv(state, f"{ours}.attn.qkv", [f"{theirs_i}.self_attn.{one}_proj" for one in "qkv"])
        weights |= both(state, f"{ours}.attn.proj", f"{theirs_i}.self_attn.out_proj")
        weights |= both(state, f"{ours}.norm1", f"{theirs_i}.layer_norm1")
        weights |= both(state, f"{ours}.norm2", f"{theirs_i}.layer_norm2")
        weights |= both(state, f"{ours}.mlp.fc1", f"{theirs_i}.mlp.fc1") | both(
            state, f"{ours}.mlp.fc2", f"{theirs_i}.mlp.fc2"
        )
    missing, unexpected = theirs.load_state_dict({prefix + name: t for name, t in weights.items()}, strict=False)
    assert unexpected == [] and all("head." in name or "post_layernorm" in name for name in missing)
    return theirs.eval()


@pytest.mark.parametrize(
    ("shape", "convert", "num_prefix"), [(DINO, dinov2_of_transformers, 5), (SIGLIP, siglip_of_transformers, 0)]
)
@torch.no_grad()
def test_features_equal_the_second_to_last_layer_of_transformers_model(
    shape: TowerShape, convert: Callable[[dict[str, Tensor]], nn.Module], num_prefix: int
) -> None:
    tower = random_tower(shape)
    pixels_NCHW = torch.randn(2, 3, 42, 42, generator=torch.Generator().manual_seed(1))
    theirs = convert(tower.state_dict())(pixel_values=pixels_NCHW, output_hidden_states=True)
    torch.testing.assert_close(tower(pixels_NCHW), theirs.hidden_states[-2][:, num_prefix:], rtol=1e-4, atol=1e-4)


def test_two_towers_see_their_own_channels_and_are_concatenated_per_patch() -> None:
    backbone = VisionBackbone([DINO, SIGLIP]).eval()
    backbone.featurizer.load_state_dict(random_tower(DINO).state_dict())
    backbone.fused_featurizer.load_state_dict(random_tower(SIGLIP).state_dict())
    pixels_NCHW = torch.randn(2, 6, 42, 42)
    features_NPD = backbone(pixels_NCHW)
    assert features_NPD.shape == (2, 9, 32 + 48)
    torch.testing.assert_close(features_NPD[..., :32], backbone.featurizer(pixels_NCHW[:, :3]))
    torch.testing.assert_close(features_NPD[..., 32:], backbone.fused_featurizer(pixels_NCHW[:, 3:]))
