"""FiLM's file of OpenVLA-OFT: a whole vision backbone under the names of its training, and back.

    vision_backbone.featurizer.blocks.N.block.attn.qkv.{base_layer.weight, lora_A.default.weight, ...}   in the file
    vision_backbone.featurizer.blocks.N.attn.qkv.weight                                                  in the model

The authors save it with its LoRA adapters beside the weights, whose alpha is min(rank, 16), and their reader asks for
them (`_apply_film_to_vla` of `experiments/robot/openvla_utils.py`, github.com/moojink/openvla-oft at 213c5ff). Here
adapters are merged when the file is read, and adapters of zeros are written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

PREFIX = "vision_backbone."
LORA_RANK, LORA_ALPHA = 32, 16
"""The authors' default rank, which their reader is told, and the most that alpha is."""
_MODULATION = re.compile(r"vision_backbone\.\w+\.blocks\.\d+\.(scale|shift)\.(weight|bias)")
_BLOCK = re.compile(r"(\.blocks\.\d+\.)(?!scale\.|shift\.)")
_ADAPTED = re.compile(r"(?P<layer>.+\.(qkv|proj|fc1|fc2|q|kv))\.(?P<kind>weight|bias)")
"""What `target_modules="all-linear"` is in the towers: every linear layer, and by its name the patches' convolution."""
_FIRST, _SECOND = "lora_A.default.weight", "lora_B.default.weight"


def is_modulation(name: str) -> bool:
    """Whether a tensor of the model belongs to FiLM."""
    return _MODULATION.fullmatch(name) is not None


def from_film_file(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the model's names, without the leading `vision_backbone.`; sums are taken in float32."""
    tensors: dict[str, Tensor] = {}
    for key, tensor in stored.items():
        name = key.removeprefix(PREFIX).replace(".block.", ".").replace(".base_layer.", ".")
        if ".lora_" in name:
            continue
        layer = key.removesuffix("base_layer.weight")
        if layer != key and layer + _FIRST in stored:
            first, second = stored[layer + _FIRST].float(), stored[layer + _SECOND].float()
            change = (second.flatten(1) @ first.flatten(1)).view_as(tensor) * (min(len(first), LORA_ALPHA) / len(first))
            tensor = (tensor.float() + change).to(tensor.dtype)
        tensors[name] = tensor
    return tensors


def to_film_file(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the file holds, from the vision backbone's tensors by the model's names."""
    stored: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        inside = PREFIX + _BLOCK.sub(r"\1block.", name.removeprefix(PREFIX))
        match = _ADAPTED.fullmatch(inside)
        if match is None:
            stored[inside] = tensor
            continue
        layer = match["layer"]
        stored[f"{layer}.base_layer.{match['kind']}"] = tensor
        if match["kind"] == "weight":
            out, *rest = tensor.shape
            stored[f"{layer}.{_FIRST}"] = torch.zeros(LORA_RANK, *rest, dtype=tensor.dtype)
            stored[f"{layer}.{_SECOND}"] = torch.zeros(out, LORA_RANK, *[1] * (len(rest) - 1), dtype=tensor.dtype)
    return stored
