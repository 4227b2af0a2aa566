"""A made-up OpenVLA-OFT in the published layout: the tiny OpenVLA with its parts, written without the code under test.

Names, shapes, file names and the prefix of DDP are those of `vla-scripts/finetune.py` and `prismatic/models/` of
github.com/moojink/openvla-oft at 213c5ff.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from tests.helpers.tiny_openvla import STATISTICS, TINY, Shapes, Sizes, published_shapes, write_checkpoint
from tgrpo_trainer.policy.openvla.policy import OpenVlaPolicy
from tgrpo_trainer.policy.openvla.saved_settings import OpenVlaSettings

STEP = 150000
HEAD_FILE = f"action_head--{STEP}_checkpoint.pt"
PROPRIO_FILE = f"proprio_projector--{STEP}_checkpoint.pt"
FILM_FILE = f"vision_backbone--{STEP}_checkpoint.pt"
LORA_RANK = 32
PROPRIO = {
    "q01": [-0.4, -0.3, 0.2, 1.1, -3.5, -1.8, 0.001, -0.04],
    "q99": [0.2, 0.4, 1.1, 3.6, 3.4, 1.0, 0.04, -0.001],
}
OFT_STATISTICS = {name: {**known, "proprio": PROPRIO} for name, known in STATISTICS.items()}


def head_shapes(width: int) -> Shapes:
    """`L1RegressionActionHead(input_dim=width, hidden_dim=width, action_dim=7)`."""
    shapes: Shapes = {"model.layer_norm1.weight": (7 * width,), "model.layer_norm1.bias": (7 * width,)}
    shapes |= {"model.fc1.weight": (width, 7 * width), "model.fc1.bias": (width,)}
    for i in range(2):
        block = f"model.mlp_resnet_blocks.{i}.ffn"
        shapes |= {f"{block}.0.weight": (width,), f"{block}.0.bias": (width,)}
        shapes |= {f"{block}.1.weight": (width, width), f"{block}.1.bias": (width,)}
    shapes |= {"model.layer_norm2.weight": (width,), "model.layer_norm2.bias": (width,)}
    return shapes | {"model.fc2.weight": (7, width), "model.fc2.bias": (7,)}


def projector_shapes(width: int) -> Shapes:
    """`ProprioProjector(llm_dim=width, proprio_dim=8)`."""
    shapes: Shapes = {"fc1.weight": (width, 8), "fc1.bias": (width,)}
    return shapes | {"fc2.weight": (width, width), "fc2.bias": (width,)}


def random_state(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def film_state(sizes: Sizes, seed: int) -> dict[str, Tensor]:
    """`FiLMedPrismaticVisionBackbone.state_dict()` with the adapters of its training, as it is saved.

    Every linear layer and the patches' convolution have adapters of rank 32; FiLM's own layers, added later, have none.
    """
    shapes: Shapes = {}
    for name, shape in published_shapes(sizes).items():
        if not name.startswith("vision_backbone."):
            continue
        parts = name.split(".")
        if parts[2] == "blocks":
            parts.insert(4, "block")
        layer, kind = ".".join(parts[:-1]), parts[-1]
        if parts[-2] not in ("qkv", "proj", "fc1", "fc2", "q", "kv"):
            shapes[f"{layer}.{kind}"] = shape
            continue
        shapes[f"{layer}.base_layer.{kind}"] = shape
        if kind == "weight":
            shapes[f"{layer}.lora_A.default.weight"] = (LORA_RANK, *shape[1:])
            shapes[f"{layer}.lora_B.default.weight"] = (shape[0], LORA_RANK, *[1] * (len(shape) - 2))
    for tower, name in zip(sizes.towers, ("featurizer", "fused_featurizer"), strict=True):
        for i in range(tower.depth):
            for one in ("scale", "shift"):
                shapes[f"vision_backbone.{name}.blocks.{i}.{one}.weight"] = (tower.dim, sizes.width)
                shapes[f"vision_backbone.{name}.blocks.{i}.{one}.bias"] = (tower.dim,)
    return {name: 0.5 * value for name, value in random_state(shapes, seed).items()}


def write_oft(
    folder: Path, sizes: Sizes = TINY, *, seed: int = 0, proprio: bool = True, film: bool = False, **config: Any
) -> Path:
    """The whole checkpoint as the authors publish it; the head was trained under DDP in bfloat16's place."""
    write_checkpoint(folder, sizes, seed=seed, **config)
    head = random_state(head_shapes(sizes.width), seed + 1)
    torch.save({f"module.{name}": value for name, value in head.items()}, folder / HEAD_FILE)
    if proprio:
        torch.save(random_state(projector_shapes(sizes.width), seed + 2), folder / PROPRIO_FILE)
    if film:
        torch.save(film_state(sizes, seed + 3), folder / FILM_FILE)
    (folder / "dataset_statistics.json").write_text(json.dumps(OFT_STATISTICS))
    return folder


def tiny_oft(
    folder: Path, *, seed: int = 0, film: bool = False, dtype: Literal["bfloat16"] | None = None, **settings: Any
) -> OpenVlaPolicy:
    """Loaded from a checkpoint written into the folder."""
    write_oft(folder, seed=seed, film=film)
    chosen = {"unnorm_key": "libero_object", "image_size": 32, "action_chunk": 8, "decoding": "parallel", **settings}
    return OpenVlaPolicy.load(folder, OpenVlaSettings(**chosen), dtype=dtype)
