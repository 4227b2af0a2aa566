"""Running Llama over a prefix: one action token after another with a cache, teacher-forced, or all places at once.

A place's hidden state predicts the token of the *next* place, so the first action token comes from the last token of
the prompt. All lengths are known on the host before the first token is drawn: nothing in the loop waits for the device.

Every step of the loop has the same shapes: it attends to all places of a cache of fixed size, and a mask hides those
that are not written yet. So a step can be compiled once, and recorded as a CUDA graph: at batch 8 a 7B model's step is
over a thousand small kernels, and starting them one by one takes longer than they run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from tgrpo_trainer.policy.openvla.model import OpenVlaModel, Prefix

DrawNext = Callable[[Tensor], Tensor]
"""From the logits of one action token, logits_NV, to the drawn tokens' embeddings_ND."""

PUBLISHED_CHUNK = 8
"""Control steps of OpenVLA-OFT's decisions."""
PLACES_MULTIPLE = 16
"""Capacities are multiples of this: prompts of nearly equal length share shapes, and attention kernels need no copy of
a mask whose rows are aligned."""


class KeyValueCache:
    """Keys and values of all layers in memory set aside once: places that never grow or move.

    Args:
        num_layers: Llama's layers.
        rows: Most rows of a decision.
        capacity: Places of a row.
        static: Whether the memory's address may be recorded (CUDA graphs).
    """

    def __init__(self, num_layers: int, rows: int, capacity: int, *, static: bool) -> None:
        self.rows = rows
        self.capacity = capacity
        self.static = static
        self.where_1: Tensor | None = None
        """The place that the next step writes; None while the prefix is written."""
        self._keys: list[Tensor | None] = [None] * num_layers
        self._values: list[Tensor | None] = [None] * num_layers

    def update(self, keys_NHQE: Tensor, values_NHQE: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Write new places of a layer and return what attention sees (Llama's layers call it).

        The prefix is written at the front and sees itself; a later place sees the whole memory through its mask.
        """
        kept_keys, kept_values = self._layer(layer, keys_NHQE)
        num, _, length, _ = keys_NHQE.shape
        if self.where_1 is None:
            kept_keys[:num, :, :length] = keys_NHQE
            kept_values[:num, :, :length] = values_NHQE
            return keys_NHQE, values_NHQE
        if num < self.rows:
            kept_keys, kept_values = kept_keys[:num], kept_values[:num]
        kept_keys.index_copy_(2, self.where_1, keys_NHQE)
        kept_values.index_copy_(2, self.where_1, values_NHQE)
        return kept_keys, kept_values

    def _layer(self, layer: int, like_NHQE: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's memory. It begins as zeros: hidden places are multiplied by 0, which must not meet a NaN."""
        keys, values = self._keys[layer], self._values[layer]
        if keys is None or values is None or (keys.dtype, keys.device) != (like_NHQE.dtype, like_NHQE.device):
            _, heads, _, dim = like_NHQE.shape
            keys, values = (like_NHQE.new_zeros(self.rows, heads, self.capacity, dim) for _ in range(2))
            if self.static:
                for memory in (keys, values):
                    torch._dynamo.mark_static_address(memory)
            self._keys[layer], self._values[layer] = keys, values
        return keys, values


@dataclass(frozen=True)
class Started:
    """A decision whose prefix is computed, and everything about its K - 1 steps that is known beforehand.

    Attributes:
        hidden_N1D: Predicts the first action token.
        head_VD: The head's rows of the action bins (`OpenVlaModel.token_head`).
        masks_KN11S: Added to attention scores: 0 where step k sees a place, else minus infinity.
        positions_KN1: Of the place each step writes, not counting padding.
        places_K1: Where each step writes.
    """

    hidden_N1D: Tensor
    head_VD: Tensor
    masks_KN11S: Tensor
    positions_KN1: Tensor
    places_K1: Tensor


class Decoder:
    """Draws action tokens one after another, and keeps the cache's memory for later decisions of at most its size.

    Args:
        compiled: Compile a step with torch.compile (as a CUDA graph on a GPU). That takes a minute, and another where a
            decision is larger than all before it. A step then always computes all rows of the cache, a power of two:
            members of a group end one by one, and each number of rows of its own would be compiled anew.
    """

    def __init__(self, *, compiled: bool) -> None:
        self.compiled = compiled
        self._cache: KeyValueCache | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Decoder:
        return Decoder(compiled=self.compiled)  # a copy of a policy has no use for this one's memory

    def release(self) -> None:
        """Give the cache's memory back."""
        self._cache = None

    def decode(self, model: OpenVlaModel, prefix: Prefix, num_tokens: int, draw_next: DrawNext) -> None:
        """Draw action tokens one after another; the prefix is computed once and kept.

        Args:
            model: Without gradients, in evaluation mode.
            prefix: N rows.
            num_tokens: K.
            draw_next: Called K times in order.
        """
        self.finish(model, self.start(model, prefix, num_tokens), draw_next)

    def start(self, model: OpenVlaModel, prefix: Prefix, num_tokens: int) -> Started:
        """Run the prefix into the cache (the prefill)."""
        num, length = prefix.visible_NS.shape
        capacity = -(-(length + num_tokens - 1) // PLACES_MULTIPLE) * PLACES_MULTIPLE
        cache = self._cache_for(model.architecture.llama.num_hidden_layers, num, capacity)
        rows, capacity = cache.rows if self.compiled else num, cache.capacity
        cache.where_1 = None
        visible_NS, positions_NS = _extend(prefix, capacity - length)
        hidden_NSD = _run(model, prefix.embeddings_NSD, _causal(prefix.visible_NS), positions_NS[:, :length], cache)
        filler = (0, 0, 0, rows - num)
        visible_NS = torch.nn.functional.pad(visible_NS, filler, value=True)
        positions_NS = torch.nn.functional.pad(positions_NS, filler)
        places_K1 = torch.arange(length, length + num_tokens - 1, device=visible_NS.device)[:, None]
        seen_KNS = visible_NS & (torch.arange(capacity, device=visible_NS.device) <= places_K1)[:, None]
        masks_KNS = hidden_NSD.new_zeros(seen_KNS.shape).masked_fill_(~seen_KNS, float("-inf"))
        return Started(
            hidden_N1D=_pick(hidden_NSD, prefix.last_N[:, None]),
            head_VD=model.token_head(),
            masks_KN11S=masks_KNS[:, :, None, None],
            positions_KN1=positions_NS[:, length : length + num_tokens - 1].T.contiguous()[:, :, None],
            places_K1=places_K1,
        )

    def _cache_for(self, num_layers: int, rows: int, capacity: int) -> KeyValueCache:
        """The memory there is if it is large enough, else a larger one; it never shrinks."""
        if self.compiled:
            rows = 1 << (rows - 1).bit_length()
        cache = self._cache
        if cache is None or cache.rows < rows or cache.capacity < capacity:
            if cache is not None:
                rows, capacity = max(rows, cache.rows), max(capacity, cache.capacity)
            cache = self._cache = KeyValueCache(num_layers, rows, capacity, static=self.compiled)
        return cache

    def finish(self, model: OpenVlaModel, started: Started, draw_next: DrawNext) -> None:
        """Draw the action tokens of the decision that was started last, with a step between each two."""
        cache = self._cache
        assert cache is not None
        step = _compiled_run() if self.compiled else _run
        hidden_N1D, num = started.hidden_N1D, len(started.hidden_N1D)
        for k in range(len(started.places_K1)):
            drawn_ND = draw_next(model.action_logits(hidden_N1D, started.head_VD)[:, 0])
            if self.compiled:
                drawn_ND = torch.nn.functional.pad(drawn_ND, (0, 0, 0, cache.rows - num))
            cache.where_1 = started.places_K1[k]
            hidden_N1D = step(model, drawn_ND[:, None], started.masks_KN11S[k], started.positions_KN1[k], cache)[:num]
        draw_next(model.action_logits(hidden_N1D, started.head_VD)[:, 0])


def teacher_forced_logits(model: OpenVlaModel, prefix: Prefix, token_ids_NK: Tensor) -> Tensor:
    """logits_NKV of each action token given those before it; the last token only closes the row."""
    return model.action_logits(teacher_forced_hidden(model, prefix, token_ids_NK))


def teacher_forced_hidden(model: OpenVlaModel, prefix: Prefix, token_ids_NK: Tensor) -> Tensor:
    """hidden_NKD of the places that predict the action tokens, each given the tokens before it."""
    inputs_NKD = model.embed(token_ids_NK[:, :-1])
    visible_NS, positions_NS = _extend(prefix, inputs_NKD.shape[1])
    embeddings_NSD = torch.cat([prefix.embeddings_NSD, inputs_NKD], dim=1)
    hidden_NSD = _run(model, embeddings_NSD, _causal(visible_NS), positions_NS)
    return _pick(hidden_NSD, _predicting(prefix, token_ids_NK.shape[1]))


def parallel_logits(model: OpenVlaModel, prefix: Prefix, num_tokens: int) -> Tensor:
    """logits_NKV of all action tokens in one pass, each independent of the others' draw (OpenVLA-OFT)."""
    return model.action_logits(parallel_hidden(model, prefix, num_tokens))


def parallel_hidden(model: OpenVlaModel, prefix: Prefix, num_tokens: int) -> Tensor:
    """hidden_NKD of the places that predict the action tokens, all in one pass.

    K empty places (zero embeddings) and the end token follow the prompt, and every place sees every other: the
    published code drops the causal mask of the whole sequence, not only among the actions.
    """
    num, _, dim = prefix.embeddings_NSD.shape
    empty_NKD = prefix.embeddings_NSD.new_zeros(num, num_tokens, dim)
    end_id = torch.full((num, 1), model.architecture.llama.eos_token_id, device=empty_NKD.device)
    embeddings_NSD = torch.cat([prefix.embeddings_NSD, empty_NKD, model.embed(end_id)], dim=1)
    visible_NS, positions_NS = _extend(prefix, num_tokens + 1)
    mask_N1SS = visible_NS[:, None, None, :].expand(-1, -1, visible_NS.shape[1], -1)
    hidden_NSD = _run(model, embeddings_NSD, mask_N1SS, positions_NS)
    return _pick(hidden_NSD, _predicting(prefix, num_tokens))


def _run(
    model: OpenVlaModel,
    embeddings_NQD: Tensor,
    mask_N1QS: Tensor,
    positions_NQ: Tensor,
    cache: KeyValueCache | None = None,
) -> Tensor:
    """Llama's last hidden states, hidden_NQD; with a cache the mask covers what its `update` gives."""
    output = model.language_model.model(
        inputs_embeds=embeddings_NQD,
        attention_mask=mask_N1QS,
        position_ids=positions_NQ,
        past_key_values=cache,
        use_cache=False,
    )
    hidden_NQD: Tensor = output.last_hidden_state
    return hidden_NQD


@lru_cache(maxsize=1)
def _compiled_run() -> Callable[..., Tensor]:
    """`_run`, compiled for each size of a step; on a GPU its kernels start together, as one CUDA graph."""
    return torch.compile(_run, mode="reduce-overhead", fullgraph=True, dynamic=False)


def _extend(prefix: Prefix, num_places: int) -> tuple[Tensor, Tensor]:
    """visible_NS and positions_NS of the prefix and the places behind it; positions do not count padding."""
    visible_NS = torch.nn.functional.pad(prefix.visible_NS, (0, num_places), value=True)
    return visible_NS, (visible_NS.cumsum(1) - 1).clamp(min=0)


def _causal(visible_NS: Tensor) -> Tensor:
    """mask_N1SS: each place sees the visible ones up to itself."""
    size = visible_NS.shape[1]
    lower_SS = torch.ones(size, size, dtype=torch.bool, device=visible_NS.device).tril()
    return (visible_NS[:, None, :] & lower_SS)[:, None]


def _predicting(prefix: Prefix, num_tokens: int) -> Tensor:
    """index_NK of the places whose hidden states predict the K action tokens."""
    later_K = len(prefix) + torch.arange(num_tokens - 1, device=prefix.last_N.device)
    return torch.cat([prefix.last_N[:, None], later_K.expand(len(prefix.last_N), -1)], dim=1)


def _pick(hidden_NSD: Tensor, index_NK: Tensor) -> Tensor:
    return hidden_NSD.gather(1, index_NK[:, :, None].expand(-1, -1, hidden_NSD.shape[2]))
