"""Warns when a checkpoint is decoded in another way than it was trained, judging by its first decisions.

A policy here is the model's distribution over the 256 action tokens, so it always acts, even where the model would
rather say something else. OpenVLA-OFT's models decoded token by token, and OpenVLA's decoded in parallel, see sequences
unlike any in their training. A model of either kind that is decoded as it was trained gives action tokens nearly all of
the vocabulary's probability.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tgrpo_trainer.policy.openvla.decoding import PUBLISHED_CHUNK, parallel_hidden, teacher_forced_hidden
from tgrpo_trainer.policy.openvla.model import OpenVlaModel, Prefix
from tgrpo_trainer.types import ACTION_DIM

Decoding = Literal["autoregressive", "parallel"]

MAX_ROWS = 4
"""Decisions looked at: logits over the whole vocabulary take memory."""
DOUBTED_BELOW = 0.5
"""Share of the probability; training leaves no other token any."""
INSTEAD: dict[Decoding, str] = {
    "autoregressive": f"--policy.openvla.decoding parallel --env.action-chunk {PUBLISHED_CHUNK} (of eval: "
    f"--openvla.decoding parallel --action-chunk {PUBLISHED_CHUNK}), if it is OpenVLA-OFT's with the token head",
    "parallel": "--policy.openvla.decoding autoregressive --env.action-chunk 1 (of eval: --openvla.decoding "
    "autoregressive --action-chunk 1), if it is OpenVLA's own",
}


@torch.no_grad()
def find_doubt(model: OpenVlaModel, prefix: Prefix, token_ids_NK: Tensor, decoding: Decoding) -> str | None:
    """What speaks against the chosen decoding, and what to set; None if nothing does.

    Args:
        model: Under examination.
        prefix: Some rows.
        token_ids_NK: What was drawn for them.
        decoding: How it was drawn.
    """
    share = _share(model, prefix, token_ids_NK, decoding)
    if share >= DOUBTED_BELOW:
        return None
    other: Decoding = "parallel" if decoding == "autoregressive" else "autoregressive"
    return (
        f"in its first decisions the model gives action tokens {share:.1%} of the probability (with {other} decoding "
        f"{_share(model, prefix, token_ids_NK, other):.1%}), so it was hardly trained for {decoding} decoding. Set "
        f"{INSTEAD[decoding]}; otherwise it is not fine-tuned to act at all."
    )


def _share(model: OpenVlaModel, prefix: Prefix, token_ids_NK: Tensor, decoding: Decoding) -> float:
    """The action tokens' mean share over all places of a decision."""
    if decoding == "parallel":
        hidden_NKD = parallel_hidden(model, prefix, max(token_ids_NK.shape[1], PUBLISHED_CHUNK * ACTION_DIM))
    else:
        hidden_NKD = teacher_forced_hidden(model, prefix, token_ids_NK[:, :ACTION_DIM])
    return model.action_share(hidden_NKD).mean().item()
