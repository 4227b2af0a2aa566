"""OpenVLA's vision backbone: vision transformers (DINOv2, SigLIP) with timm's parameter names.

    picture -> patches + positions -> [class and register tokens |] blocks, all but the last -> features of the patches

The features are the output of the second-to-last block without a final norm. The last block, the norm and SigLIP's
pooling head are stored in every checkpoint and never run: they are here so that checkpoints load and save completely,
and need no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

TowerKind = Literal["dinov2", "siglip"]

NUM_HEADS = 16
"""Attention heads of both published towers (ViT-L/14 and SO400M/14); no file of a checkpoint states it."""
NORM_EPS = 1e-6

MEAN_STD: dict[TowerKind, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "dinov2": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "siglip": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""What each tower's pictures (in [0, 1], red green blue) are shifted and divided by: ImageNet's numbers for DINOv2."""


@dataclass(frozen=True)
class TowerShape:
    """Everything that shapes one tower.

    Attributes:
        kind: DINOv2 has class and register tokens and layer scales; SigLIP has a pooling head.
        dim: Channels, a multiple of NUM_HEADS.
        depth: Blocks, the unused last one included.
        mlp_dim: Hidden width of the blocks' MLPs.
        patch: Side of a patch in pixels.
        num_patches: Patches of a picture, a square number.
        num_registers: Register tokens (DINOv2 only).
    """

    kind: TowerKind
    dim: int
    depth: int
    mlp_dim: int
    patch: int
    num_patches: int
    num_registers: int = 0

    @property
    def image_size(self) -> int:
        """Side in pixels of the pictures it takes."""
        return self.patch * math.isqrt(self.num_patches)


class VisionTower(nn.Module):
    """One vision transformer; called with normalised pictures it gives features_NPD, one row per patch."""

    def __init__(self, shape: TowerShape, film_width: int | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.gradient_checkpointing = False
        dim, dinov2 = shape.dim, shape.kind == "dinov2"
        self.patch_embed = _PatchEmbedding(shape)
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.num_patches, dim))
        if dinov2:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
            self.reg_token = nn.Parameter(torch.zeros(1, shape.num_registers, dim))
        self.blocks = nn.ModuleList(
            _Block(dim, shape.mlp_dim, layer_scale=dinov2, film_width=film_width) for _ in range(shape.depth)
        )
        self.norm = nn.LayerNorm(dim, NORM_EPS)
        unused: list[nn.Module] = [self.blocks[-1], self.norm]
        if not dinov2:
            self.attn_pool = _AttentionPool(dim, shape.mlp_dim)
            unused.append(self.attn_pool)
        for module in unused:
            module.requires_grad_(requires_grad=False)

    def forward(self, pixels_NCHW: Tensor, language_ND: Tensor | None = None) -> Tensor:
        """Features of the patches, features_NPD; with FiLM, of what the language makes of them."""
        hidden_NPD: Tensor = self.patch_embed(pixels_NCHW) + self.pos_embed
        num_prefix = 0
        if self.shape.kind == "dinov2":
            prefix_1PD = torch.cat([self.cls_token, self.reg_token], dim=1)
            num_prefix = prefix_1PD.shape[1]
            hidden_NPD = torch.cat([prefix_1PD.expand(len(hidden_NPD), -1, -1), hidden_NPD], dim=1)
        for block in list(self.blocks)[:-1]:
            if self.gradient_checkpointing and self.training:
                hidden_NPD = checkpoint(block, hidden_NPD, language_ND, use_reentrant=False)
            else:
                hidden_NPD = block(hidden_NPD, language_ND)
        return hidden_NPD[:, num_prefix:]


class VisionBackbone(nn.Module):
    """One tower, or two that look at the same picture and whose features are concatenated per patch.

    Args:
        shapes: Of the towers.
        film_width: Of the language that modulates their blocks (FiLM); None without.
    """

    def __init__(self, shapes: Sequence[TowerShape], film_width: int | None = None) -> None:
        super().__init__()
        self.shapes = tuple(shapes)
        self.featurizer = VisionTower(shapes[0], film_width)
        if len(shapes) == 2:
            self.fused_featurizer = VisionTower(shapes[1], film_width)

    @property
    def towers(self) -> tuple[VisionTower, ...]:
        """The towers, in the order of their channels."""
        return (self.featurizer, self.fused_featurizer) if len(self.shapes) == 2 else (self.featurizer,)

    def forward(self, pixels_NCHW: Tensor, language_ND: Tensor | None = None) -> Tensor:
        """features_NPD of pictures with 3 channels per tower, each three normalised for its tower."""
        parts = torch.split(pixels_NCHW, 3, dim=1)
        return torch.cat([tower(part, language_ND) for tower, part in zip(self.towers, parts, strict=True)], dim=-1)


class _PatchEmbedding(nn.Module):
    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, shape.dim, shape.patch, stride=shape.patch)

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        features_NPD: Tensor = self.proj(pixels_NCHW).flatten(2).transpose(1, 2)
        return features_NPD


class _Block(nn.Module):
    def __init__(self, dim: int, mlp_dim: int, *, layer_scale: bool, film_width: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, NORM_EPS)
        self.attn = _Attention(dim)
        self.ls1 = _LayerScale(dim) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, NORM_EPS)
        self.mlp = _Mlp(dim, mlp_dim)
        self.ls2 = _LayerScale(dim) if layer_scale else nn.Identity()
        if film_width is not None:
            self.scale = nn.Linear(film_width, dim)
            self.shift = nn.Linear(film_width, dim)

    def forward(self, hidden_NPD: Tensor, language_ND: Tensor | None) -> Tensor:
        hidden_NPD = hidden_NPD + self.ls1(self.attn(self.norm1(hidden_NPD)))
        if language_ND is not None:
            hidden_NPD = hidden_NPD * (1.0 + self.scale(language_ND)[:, None]) + self.shift(language_ND)[:, None]
        out_NPD: Tensor = hidden_NPD + self.ls2(self.mlp(self.norm2(hidden_NPD)))
        return out_NPD


class _Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, hidden_NPD: Tensor) -> Tensor:
        num, length, dim = hidden_NPD.shape
        qkv_3NHPE = self.qkv(hidden_NPD).view(num, length, 3, NUM_HEADS, dim // NUM_HEADS).permute(2, 0, 3, 1, 4)
        mixed_NHPE = nn.functional.scaled_dot_product_attention(*qkv_3NHPE.unbind(0))
        mixed_NPD: Tensor = self.proj(mixed_NHPE.transpose(1, 2).reshape(num, length, dim))
        return mixed_NPD


class _LayerScale(nn.Module):
    """A factor per channel; the published name is `scale_factor` (timm's own is `gamma`)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(dim))

    def forward(self, hidden_NPD: Tensor) -> Tensor:
        return hidden_NPD * self.scale_factor


class _Mlp(nn.Module):
    def __init__(self, dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, mlp_dim)
        self.fc2 = nn.Linear(mlp_dim, dim)

    def forward(self, hidden_NPD: Tensor) -> Tensor:
        out_NPD: Tensor = self.fc2(nn.functional.gelu(self.fc1(hidden_NPD)))
        return out_NPD


class _AttentionPool(nn.Module):
    """The parameters of SigLIP's pooling head, which OpenVLA stores and never runs."""

    def __init__(self, dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(1, 1, dim))
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, NORM_EPS)
        self.mlp = _Mlp(dim, mlp_dim)
