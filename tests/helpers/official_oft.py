"""OpenVLA-OFT's prediction from stored tensors alone, in float64 and plain functions: one row, no padding, no modules.

Follows `predict_action` of `prismatic/extern/hf/modeling_prismatic.py` (github.com/moojink/openvla-oft at 213c5ff), the
vision transformers and Llama written out. Shares no line with the code under test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, relu, silu

State = Mapping[str, Tensor]
TOWER_HEADS, LLAMA_HEADS = 16, 4
MEANS = ([0.485, 0.456, 0.406], [0.5, 0.5, 0.5])
DEVIATIONS = ([0.229, 0.224, 0.225], [0.5, 0.5, 0.5])


def read_state(folder: Path) -> dict[str, Tensor]:
    """All shards and parts, by `FILE/NAME` for parts."""
    state: dict[str, Tensor] = {}
    for shard in sorted(folder.glob("model-*.safetensors")):
        state |= load_file(shard)
    for path in folder.glob("*--*_checkpoint.pt"):
        part = path.name.partition("--")[0]
        stored = torch.load(path, weights_only=True)
        state |= {f"{part}/{name.removeprefix('module.')}": value for name, value in stored.items()}
    return {name: value.double() for name, value in state.items()}


def merged(state: State) -> dict[str, Tensor]:
    """Layers with LoRA as plain ones: y = W x + alpha / rank B A x, with the alpha of `_apply_film_to_vla`."""
    plain: dict[str, Tensor] = {}
    for name, value in state.items():
        if "lora_" in name:
            continue
        if name.endswith(".base_layer.weight"):
            first, second = (state[name.replace("base_layer", f"lora_{one}.default")] for one in "AB")
            rank = first.shape[0]
            value = value + min(rank, 16) / rank * torch.einsum("or,r...->o...", second.flatten(1), first)
        plain[name.replace(".base_layer", "")] = value
    return plain


def sub(state: State, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def dense(state: State, name: str, x: Tensor) -> Tensor:
    return linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def normed(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    return layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Every place sees every place: (P, D) each."""
    places, dim = query.shape
    split = [x.view(places, heads, dim // heads).transpose(0, 1) for x in (query, key, value)]
    scores = split[0] @ split[1].transpose(1, 2) / (dim // heads) ** 0.5
    mixed: Tensor = scores.softmax(-1) @ split[2]
    return mixed.transpose(0, 1).reshape(places, dim)


def tower(state: State, picture: Tensor, film: Tensor | None = None) -> Tensor:
    """Patches (P, D) of a normalised picture (3, H, W): the second-to-last block's output, prefix tokens dropped."""
    weight = state["patch_embed.proj.weight"]
    dim, size = weight.shape[0], weight.shape[-1]
    side = picture.shape[-1] // size
    rows = []
    for i in range(side):
        for j in range(side):
            patch = picture[:, i * size : (i + 1) * size, j * size : (j + 1) * size]
            rows.append(weight.reshape(dim, -1) @ patch.reshape(-1) + state["patch_embed.proj.bias"])
    x = torch.stack(rows) + state["pos_embed"][0]
    num_prefix = 0
    if "cls_token" in state:
        prefix = torch.cat([state["cls_token"][0], state["reg_token"][0]])
        num_prefix, x = len(prefix), torch.cat([prefix, x])
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    for i in range(depth - 1):
        x = block(sub(state, f"blocks.{i}."), x, film)
    return x[num_prefix:]


def block(state: State, x: Tensor, film: Tensor | None) -> Tensor:
    inner = sub(state, "block.") or state
    scale1, scale2 = inner.get("ls1.scale_factor", 1.0), inner.get("ls2.scale_factor", 1.0)
    query, key, value = dense(inner, "attn.qkv", normed(inner, "norm1", x, 1e-6)).chunk(3, dim=1)
    x = x + scale1 * dense(inner, "attn.proj", attention(query, key, value, TOWER_HEADS))
    if film is not None:
        x = x * (1 + dense(state, "scale", film)) + dense(state, "shift", film)
    return x + scale2 * dense(inner, "mlp.fc2", gelu(dense(inner, "mlp.fc1", normed(inner, "norm2", x, 1e-6))))


def llama(state: State, x: Tensor) -> Tensor:
    """Last hidden states (S, D), without a causal mask."""
    length, dim = x.shape
    size = dim // LLAMA_HEADS
    angles = torch.arange(length).double()[:, None] / 10000.0 ** (torch.arange(0, size, 2).double() / size)
    cosine, sine = (torch.cat([f(angles)] * 2, dim=1).repeat(1, LLAMA_HEADS) for f in (torch.cos, torch.sin))

    def turn(vectors: Tensor) -> Tensor:
        first, second = vectors.view(length, LLAMA_HEADS, 2, size // 2).unbind(2)
        halves = torch.stack([-second, first], dim=2).reshape(length, dim)
        return vectors * cosine + halves * sine

    def rms(name: str, vectors: Tensor) -> Tensor:
        return state[name] * vectors / (vectors.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()

    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))
    for i in range(depth):
        own = sub(state, f"layers.{i}.")
        h = rms(f"layers.{i}.input_layernorm.weight", x)
        query, key, value = (dense(own, f"self_attn.{one}_proj", h) for one in "qkv")
        x = x + dense(own, "self_attn.o_proj", attention(turn(query), turn(key), value, LLAMA_HEADS))
        h = rms(f"layers.{i}.post_attention_layernorm.weight", x)
        x = x + dense(own, "mlp.down_proj", silu(dense(own, "mlp.gate_proj", h)) * dense(own, "mlp.up_proj", h))
    return rms("norm.weight", x)


def l1_head(state: State, hidden: Tensor) -> Tensor:
    """Numbers (chunk, 7) of the hidden states of the action places (7 * chunk, D)."""
    x = hidden.reshape(len(hidden) // 7, -1)
    x = relu(dense(state, "model.fc1", normed(state, "model.layer_norm1", x, 1e-5)))
    for i in range(2):
        ffn = f"model.mlp_resnet_blocks.{i}.ffn"
        x = relu(dense(state, f"{ffn}.1", normed(state, f"{ffn}.0", x, 1e-5))) + x
    return dense(state, "model.fc2", normed(state, "model.layer_norm2", x, 1e-5))


def predict(
    folder: Path,
    pictures: list[np.ndarray],
    prompt_ids: list[int],
    state_8: np.ndarray | None,
    key: str,
    *,
    chunk: int = 8,
    use_film: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The head's numbers and the environment's actions, both (chunk, 7).

    Args:
        folder: Of the checkpoint.
        pictures: LIBERO's raw ones turned by 180 degrees, uint8 (H, W, 3), of the towers' size.
        prompt_ids: With `<s>` and the empty token.
        state_8: LIBERO's state; None = the model is not shown it.
        key: Of the statistics.
        chunk: Control steps.
        use_film: The vision backbone has a file of its own.
    """
    state = read_state(folder)
    words = sub(state, "language_model.model.")["embed_tokens.weight"]
    embedded, end = words[torch.tensor(prompt_ids)], words[2:3]
    # Everything but the places of actions: the prompt, and the end token behind them.
    film = torch.cat([embedded, end]).mean(0) if use_film else None
    towers = merged(sub(state, "vision_backbone/vision_backbone.")) if use_film else sub(state, "vision_backbone.")
    patches = []
    for picture in pictures:
        unit = torch.tensor(picture.astype(np.float64) / 255).permute(2, 0, 1)
        seen = []
        for name, mean, deviation in zip(("featurizer", "fused_featurizer"), MEANS, DEVIATIONS, strict=True):
            pixels = (unit - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
            seen.append(tower(sub(towers, f"{name}."), pixels.double(), film))
        patches.append(torch.cat(seen, dim=1))
    x = torch.cat(patches)
    project = sub(state, "projector.")
    x = dense(project, "fc3", gelu(dense(project, "fc2", gelu(dense(project, "fc1", x)))))
    statistics = json.loads((folder / "dataset_statistics.json").read_text())[key]
    if state_8 is not None:
        low, high = (np.array(statistics["proprio"][name]) for name in ("q01", "q99"))
        unit_8 = np.clip(2 * (state_8 - low) / (high - low + 1e-8) - 1, -1, 1)
        own = sub(state, "proprio_projector/")
        x = torch.cat([x, dense(own, "fc2", gelu(dense(own, "fc1", torch.tensor(unit_8)[None])))])
    num_patches, empty = len(x), embedded.new_zeros(7 * chunk, embedded.shape[1])
    sequence = torch.cat([embedded[:1], x, embedded[1:], empty, end])
    hidden = llama(sub(state, "language_model.model."), sequence)
    first = num_patches + len(prompt_ids) - 1
    numbers = l1_head(sub(state, "action_head/"), hidden[first : first + 7 * chunk]).numpy()
    return numbers, to_environment(numbers, statistics["action"])


def to_environment(numbers: np.ndarray, statistics: dict[str, Any]) -> np.ndarray:
    """`_unnormalize_actions`, then LIBERO's gripper as `process_action` makes it."""
    low, high, mask = (np.array(statistics[name]) for name in ("q01", "q99", "mask"))
    actions = np.where(mask, 0.5 * (numbers + 1) * (high - low + 1e-8) + low, numbers)
    actions[:, 6] = -np.sign(2 * actions[:, 6] - 1)
    return actions
