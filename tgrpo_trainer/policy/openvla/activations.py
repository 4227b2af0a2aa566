"""How many bytes a training pass keeps for its backward pass: counted on the meta device, where nothing is computed.

autograd says what it saves; each memory block counts once, however many operations share it, and weights do not count.
Attention is taken as the fused kernels have it, on a GPU as on the CPU: they keep queries, keys, values, output and one
float32 per query, never the matrix of all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tgrpo_trainer.policy.densities import log_density
from tgrpo_trainer.policy.footprint import Bytes
from tgrpo_trainer.policy.openvla.decoding import PUBLISHED_CHUNK, parallel_hidden, teacher_forced_logits
from tgrpo_trainer.policy.openvla.model import OpenVlaModel
from tgrpo_trainer.policy.tokens import score
from tgrpo_trainer.types import ACTION_DIM


@dataclass
class SavedBytes:
    """What autograd saved, by memory block.

    Attributes:
        blocks: Bytes of each, and the checkpointed layer it was first saved in (-1: none). The tensors are kept so that
            no memory block is given out twice.
        inputs: Blocks that are the input of such a layer.
    """

    blocks: dict[int, tuple[int, int, Tensor]] = field(default_factory=dict)
    inputs: dict[int, tuple[int, Tensor]] = field(default_factory=dict)
    layer: int = -1

    @property
    def whole(self) -> int:
        """Bytes kept without gradient checkpointing."""
        return sum(size for size, _, _ in self.blocks.values())

    @property
    def checkpointed(self) -> int:
        """Bytes at the worst moment with it: all layers' inputs, what no layer saved, and one layer computed again."""
        kept = sum(size for size, _ in self.inputs.values())
        inside: dict[int, int] = {}
        for key, (size, layer, _) in self.blocks.items():
            if layer < 0 and key not in self.inputs:
                kept += size
            elif key not in self.inputs:
                inside[layer] = inside.get(layer, 0) + size
        return kept + max(inside.values(), default=0)


def trace(model: OpenVlaModel, *, prompt_length: int = 32) -> tuple[Bytes, Bytes]:
    """Bytes of a training pass without and with gradient checkpointing.

    A pass scores one control step's tokens, or with an L1 head the numbers of the published chunk.

    Args:
        model: On the meta device, in the type it is trained in, with adapters if it has some.
        prompt_length: Tokens of the instruction's prompt.
    """
    one, two = (_pass(model, num_rows, prompt_length) for num_rows in (1, 2))
    return _line(one.whole, two.whole), _line(one.checkpointed, two.checkpointed)


@contextmanager
def saved_bytes(model: nn.Module, layers: list[nn.Module]) -> Iterator[SavedBytes]:
    """Count what passes inside the `with` save.

    Args:
        model: Its parameters do not count.
        layers: Those that gradient checkpointing would compute again.
    """
    counted = SavedBytes()
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            counted.blocks.setdefault(storage._cdata, (storage.nbytes(), counted.layer, tensor))
        return tensor

    def enter(number: int, hidden: Tensor) -> None:
        counted.layer = number
        counted.inputs[hidden.untyped_storage()._cdata] = (hidden.untyped_storage().nbytes(), hidden)

    def leave() -> None:
        counted.layer = -1

    hooks = []
    for number, layer in enumerate(layers):
        hooks.append(layer.register_forward_pre_hook(lambda _, inputs, number=number: enter(number, inputs[0])))
        hooks.append(layer.register_forward_hook(lambda *_: leave()))
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield counted
    finally:
        for hook in hooks:
            hook.remove()


def checkpointed_layers(model: OpenVlaModel) -> list[nn.Module]:
    """The layers that gradient checkpointing computes again: blocks of both towers and of Llama."""
    towers = [block for tower in model.vision_backbone.towers for block in list(tower.blocks)[:-1]]
    return [*towers, *model.language_model.model.layers]


def _pass(model: OpenVlaModel, num_rows: int, prompt_length: int) -> SavedBytes:
    architecture = model.architecture
    channels = 3 * len(architecture.towers) * architecture.num_pictures
    with torch.device("meta"), saved_bytes(model, checkpointed_layers(model)) as counted, _FusedAttention():
        pixels_NCHW = torch.empty(num_rows, channels, model.image_size, model.image_size)
        state_NP = torch.empty(num_rows, architecture.proprio_dim)
        prefix = model.prefix(pixels_NCHW, torch.ones(num_rows, prompt_length, dtype=torch.int64), state_NP)
        if model.action_head is not None:
            mean_NK = model.action_head(parallel_hidden(model, prefix, PUBLISHED_CHUNK * ACTION_DIM))
            log_density("laplace", torch.empty_like(mean_NK), mean_NK, model.scale().repeat(PUBLISHED_CHUNK))
        else:
            tokens_NK = torch.zeros(num_rows, ACTION_DIM, dtype=torch.int64)
            score(teacher_forced_logits(model, prefix, tokens_NK), tokens_NK, 1.0)
    return counted


def _line(one: int, two: int) -> Bytes:
    return Bytes(fixed=2 * one - two, per_row=two - one)


class _FusedAttention(TorchFunctionMode):
    """Gives attention the fused kernels' memory; the meta device would take the plain one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return _Attention.apply(*args[:3], (kwargs or {}).get("attn_mask"))  # type: ignore[no-untyped-call]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_NHQE: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        out_NHQE = torch.empty_like(query_NHQE)
        per_query_NHQ = query_NHQE.new_empty(query_NHQE.shape[:-1], dtype=torch.float32)
        kept = [query_NHQE, key, value, out_NHQE, per_query_NHQ]
        if mask is not None:  # a bool mask is turned into numbers at every call
            kept.append(torch.empty_like(mask, dtype=query_NHQE.dtype))
        ctx.save_for_backward(*kept)
        return out_NHQE

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise NotImplementedError  # only the forward pass is traced
