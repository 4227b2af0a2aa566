"""A made-up OpenVLA checkpoint in the published layout: two Llama layers, 32 channels, 28-pixel pictures, 8 words.

Written without the code under test: names and shapes come from `published_shapes`, which spells out the format's facts
for any sizes, so that the tests compare the model with them and not with itself.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings
from tgrpo_trainer.types import PolicyInput

Shapes = dict[str, tuple[int, ...]]

PADDING, NUM_BINS = 64, 256
WORDS = ["<unk>", "<s>", "</s>", "▁", "▁In:", "▁What", "▁action", "▁should", "▁the", "▁robot", "▁take", "▁to"]
WORDS += ["▁Out:", "▁reach", "▁middle?", "▁pick", "▁up", "▁bowl?", "▁red", "▁reach?"]
VOCAB_END = len(WORDS) + 25 + NUM_BINS  # some ids between the words and the action tokens are used by neither
STATISTICS = {
    "libero_object_no_noops": {
        "action": {
            "q01": [-0.5, -0.8, -0.9, -0.1, -0.2, -0.1, 0.0],
            "q99": [0.5, 0.9, 0.9, 0.2, 0.2, 0.1, 1.0],
            "mask": [True] * 6 + [False],
        }
    },
    "libero_spatial": {"action": {"q01": [-1.0] * 7, "q99": [1.0] * 7, "mask": [True] * 6 + [False]}},
}


@dataclass(frozen=True)
class Tower:
    kind: str
    dim: int
    depth: int
    mlp: int
    patch: int = 14
    patches: int = 4


@dataclass(frozen=True)
class Sizes:
    towers: tuple[Tower, ...]
    vocab: int
    width: int
    mlp: int
    layers: int
    registers: int = 4


TINY_DINO = Tower("dinov2", 32, 3, 64)
TINY_SIGLIP = Tower("siglip", 48, 2, 56)
TINY = Sizes((TINY_DINO, TINY_SIGLIP), vocab=VOCAB_END + PADDING, width=32, mlp=48, layers=2)
ONE_SIGLIP = Sizes((TINY_SIGLIP,), TINY.vocab, TINY.width, TINY.mlp, TINY.layers)
FULL = Sizes(  # openvla-7b
    (
        Tower("dinov2", 1024, 24, 4096, patches=256),
        Tower("siglip", 1152, 27, 4304, patches=256),
    ),
    vocab=32064,
    width=4096,
    mlp=11008,
    layers=32,
)
NUM_PARAMETERS_7B = 7_541_237_184
"""What the hub states for openvla-7b, and what peft counts there without its LoRA (7,652,065,472 - 110,828,288)."""


def published_shapes(sizes: Sizes) -> Shapes:
    """Names and shapes of every tensor, as the format's facts have them."""
    shapes: Shapes = {}
    for name, tower in zip(("featurizer", "fused_featurizer"), sizes.towers, strict=False):
        shapes |= {f"vision_backbone.{name}.{key}": shape for key, shape in _tower(tower, sizes.registers).items()}
    vision, width = sum(tower.dim for tower in sizes.towers), sizes.width
    widths = [vision, 4 * vision, width, width] if len(sizes.towers) == 2 else [vision, width, width]
    for i in range(1, len(widths)):
        shapes |= _linear(f"projector.fc{i}", widths[i - 1], widths[i])
    shapes["language_model.model.embed_tokens.weight"] = (sizes.vocab, width)
    for i in range(sizes.layers):
        layer = f"language_model.model.layers.{i}"
        shapes |= {f"{layer}.self_attn.{one}_proj.weight": (width, width) for one in "qkvo"}
        shapes |= {f"{layer}.mlp.{one}_proj.weight": (sizes.mlp, width) for one in ("gate", "up")}
        shapes[f"{layer}.mlp.down_proj.weight"] = (width, sizes.mlp)
        shapes |= {f"{layer}.{one}_layernorm.weight": (width,) for one in ("input", "post_attention")}
    shapes["language_model.model.norm.weight"] = (width,)
    shapes["language_model.lm_head.weight"] = (sizes.vocab, width)
    return shapes


def _tower(tower: Tower, registers: int) -> Shapes:
    dim, dino = tower.dim, tower.kind == "dinov2"
    shapes: Shapes = {"pos_embed": (1, tower.patches, dim)}
    if dino:
        shapes |= {"cls_token": (1, 1, dim), "reg_token": (1, registers, dim)}
    shapes |= {"patch_embed.proj.weight": (dim, 3, tower.patch, tower.patch), "patch_embed.proj.bias": (dim,)}
    for i in range(tower.depth):
        block = f"blocks.{i}"
        shapes |= _linear(f"{block}.attn.qkv", dim, 3 * dim) | _linear(f"{block}.attn.proj", dim, dim)
        shapes |= _linear(f"{block}.mlp.fc1", dim, tower.mlp) | _linear(f"{block}.mlp.fc2", tower.mlp, dim)
        shapes |= _norm(f"{block}.norm1", dim) | _norm(f"{block}.norm2", dim)
        if dino:
            shapes |= {f"{block}.ls1.scale_factor": (dim,), f"{block}.ls2.scale_factor": (dim,)}
    shapes |= _norm("norm", dim)
    if not dino:
        shapes |= {"attn_pool.latent": (1, 1, dim), **_norm("attn_pool.norm", dim)}
        for name, width in (("q", dim), ("kv", 2 * dim), ("proj", dim), ("mlp.fc1", tower.mlp)):
            shapes |= _linear(f"attn_pool.{name}", dim, width)
        shapes |= _linear("attn_pool.mlp.fc2", tower.mlp, dim)
    return shapes


def _linear(name: str, dim_in: int, dim_out: int) -> Shapes:
    return {f"{name}.weight": (dim_out, dim_in), f"{name}.bias": (dim_out,)}


def _norm(name: str, dim: int) -> Shapes:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def tiny_config(sizes: Sizes = TINY) -> dict[str, Any]:
    """config.json with the published fields."""
    fused = len(sizes.towers) == 2
    timm = {"dinov2": "vit_large_patch14_reg4_dinov2.lvd142m", "siglip": "vit_so400m_patch14_siglip_224"}
    backbone = {"dinov2": "dinov2-vit-l", "siglip": "siglip-vit-so400m"}[sizes.towers[0].kind]
    return {
        "architectures": ["OpenVLAForActionPrediction"],
        "arch_specifier": "no-align+fused-gelu-mlp" if fused else "no-align+gelu-mlp",
        "image_resize_strategy": "resize-naive",
        "image_sizes": [tower.patch * math.isqrt(tower.patches) for tower in sizes.towers],
        "llm_backbone_id": "llama2-7b-pure",
        "model_type": "openvla",
        "n_action_bins": NUM_BINS,
        "norm_stats": STATISTICS,
        "pad_to_multiple_of": PADDING,
        "pad_token_id": 0,
        # The published one leaves out whatever transformers 4.40 had as a default, which is Llama-2-7B's every size.
        "text_config": {"model_type": "llama", "vocab_size": sizes.vocab}
        | ({} if sizes is FULL else {"num_attention_heads": 4}),
        "timm_model_ids": [timm[tower.kind] for tower in sizes.towers],
        "torch_dtype": "float32",
        "use_fused_vision_backbone": fused,
        "vision_backbone_id": "dinosiglip-vit-so-224px" if fused else backbone,
    }


def tiny_weights(sizes: Sizes = TINY, seed: int = 0) -> dict[str, Tensor]:
    """Random weights, large enough for decisions to differ and small enough to stay smooth."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in published_shapes(sizes).items():
        is_scale = name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "layernorm.weight", "scale_factor"))
        weights[name] = torch.randn(shape, generator=generator) * 0.2 + (1.0 if is_scale else 0.0)
    return weights


def write_checkpoint(folder: Path, sizes: Sizes = TINY, *, num_shards: int = 2, seed: int = 0, **config: Any) -> Path:
    """A whole checkpoint: config, shards, index, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**tiny_config(sizes), **config}, indent=2, sort_keys=True) + "\n")
    weights = tiny_weights(sizes, seed)
    names = list(weights)
    weight_map: dict[str, str] = {}
    for i in range(num_shards):
        file_name = f"model-{i + 1:05d}-of-{num_shards:05d}.safetensors"
        shard = names[i::num_shards]
        save_file({name: weights[name] for name in shard}, folder / file_name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file_name)
    total = sum(tensor.nbytes for tensor in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def tiny_tokenizer() -> Tokenizer:
    """One token per word of WORDS, `<s>` in front, as Llama's tokenizer does it for its pieces."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="▁"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "removed"),
            pre_tokenizers.Metaspace(prepend_scheme="always"),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def tiny_openvla(folder: Path, sizes: Sizes = TINY, seed: int = 0, **settings: Any) -> OpenVlaPolicy:
    """Loaded from a checkpoint written into the folder; pictures of 32 pixels."""
    write_checkpoint(folder, sizes, seed=seed)
    return OpenVlaPolicy.load(folder, OpenVlaSettings(**{"unnorm_key": "libero_object", "image_size": 32, **settings}))


def openvla_input(policy: OpenVlaPolicy, texts: list[str], seed: int = 0) -> PolicyInput:
    """One row per text, with random pictures."""
    generator = torch.Generator().manual_seed(seed)
    side = policy.image_size
    images = torch.randint(0, 256, (2, len(texts), side, side, 3), dtype=torch.uint8, generator=generator)
    proprio_NP = torch.zeros(len(texts), 12)
    return PolicyInput(images[0], images[1], proprio_NP, policy.encode_instructions(texts))
