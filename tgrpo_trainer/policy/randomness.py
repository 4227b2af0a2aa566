"""Where the random numbers of rows come from: one source for all, or one for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Randomness = torch.Generator | Sequence[torch.Generator] | None
"""One generator for all rows; or one for each row, which makes a row's draws independent of the rows beside it; or None
for torch's global one. Generators are on the policy's device."""


def drawn_like(
    values_N: Tensor, generator: Randomness, fill: Callable[[Tensor, torch.Generator | None], Tensor]
) -> Tensor:
    """Random numbers of the same shape (N rows and any further axes).

    Args:
        values_N: Only its shape, type and device count.
        generator: Source.
        fill: Fills a tensor with numbers from a generator, in place.
    """
    drawn_N = torch.empty_like(values_N)
    if not isinstance(generator, Sequence):
        return fill(drawn_N, generator)
    for row, own in zip(drawn_N, generator, strict=True):
        fill(row, own)
    return drawn_N
