"""Running Llama over a prefix: one action token after another with a cache, teacher-forced, or all places at once.

A place's hidden state predicts the token of the *next* place, so the first action token comes from the last token of
the prompt. All lengths are known on the host before the first token is drawn: nothing in the loop waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tgrpo_trainer.policy.openvla.model import OpenVlaModel, Prefix

DrawNext = Callable[[Tensor], Tensor]
"""From the logits of one action token, logits_NV, to the drawn tokens' embeddings_ND."""


class KeyValueCache:
    """Keys and values of all layers in memory set aside once: `capacity` places that never grow or move."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * num_layers

    def update(self, keys_NHQE: Tensor, values_NHQE: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Write Q new places of a layer behind the used ones and return all written places (Llama's layers call it)."""
        kept = self._layers[layer]
        if kept is None:
            num, heads, _, dim = keys_NHQE.shape
            kept = (
                keys_NHQE.new_empty(num, heads, self.capacity, dim),
                values_NHQE.new_empty(num, heads, self.capacity, dim),
            )
            self._layers[layer] = kept
        end = self.used + keys_NHQE.shape[2]
        kept[0][:, :, self.used : end] = keys_NHQE
        kept[1][:, :, self.used : end] = values_NHQE
        return kept[0][:, :, :end], kept[1][:, :, :end]


def decode(model: OpenVlaModel, prefix: Prefix, num_tokens: int, draw_next: DrawNext) -> None:
    """Draw action tokens one after another; the prefix is computed once and kept.

    Args:
        model: Without gradients.
        prefix: N rows.
        num_tokens: K.
        draw_next: Called K times in order.
    """
    capacity = len(prefix) + num_tokens - 1
    cache = KeyValueCache(model.architecture.llama.num_hidden_layers, capacity)
    visible_NS, positions_NS = _extend(prefix, num_tokens - 1)
    hidden_NSD = _run(
        model,
        prefix.embeddings_NSD,
        _causal(visible_NS[:, : len(prefix)]),
        positions_NS[:, : len(prefix)],
        cache,
    )
    hidden_N1D = _pick(hidden_NSD, prefix.last_N[:, None])
    for place in range(len(prefix), capacity + 1):
        drawn_ND = draw_next(model.action_logits(hidden_N1D)[:, 0])
        if place == capacity:
            return
        mask_N11S = visible_NS[:, None, None, : place + 1]
        hidden_N1D = _run(model, drawn_ND[:, None], mask_N11S, positions_NS[:, place : place + 1], cache)


def teacher_forced_logits(model: OpenVlaModel, prefix: Prefix, token_ids_NK: Tensor) -> Tensor:
    """logits_NKV of each action token given those before it; the last token only closes the row."""
    inputs_NKD = model.embed(token_ids_NK[:, :-1])
    visible_NS, positions_NS = _extend(prefix, inputs_NKD.shape[1])
    embeddings_NSD = torch.cat([prefix.embeddings_NSD, inputs_NKD], dim=1)
    hidden_NSD = _run(model, embeddings_NSD, _causal(visible_NS), positions_NS)
    return model.action_logits(_pick(hidden_NSD, _predicting(prefix, token_ids_NK.shape[1])))


def parallel_logits(model: OpenVlaModel, prefix: Prefix, num_tokens: int) -> Tensor:
    """logits_NKV of all action tokens in one pass, each independent of the others' draw (OpenVLA-OFT).

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
    return model.action_logits(_pick(hidden_NSD, _predicting(prefix, num_tokens)))


def _run(
    model: OpenVlaModel,
    embeddings_NQD: Tensor,
    mask_N1QS: Tensor,
    positions_NQ: Tensor,
    cache: KeyValueCache | None = None,
) -> Tensor:
    """Llama's last hidden states, hidden_NQD; with a cache the mask covers its places too."""
    output = model.language_model.model(
        inputs_embeds=embeddings_NQD,
        attention_mask=mask_N1QS,
        position_ids=positions_NQ,
        past_key_values=cache,
        use_cache=False,
    )
    if cache is not None:
        cache.used += embeddings_NQD.shape[1]
    hidden_NQD: Tensor = output.last_hidden_state
    return hidden_NQD


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
