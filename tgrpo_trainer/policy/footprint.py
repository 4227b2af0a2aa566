"""A model as memory sees it: bytes of its weights, of a training pass and of acting, whatever family it is of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bytes:
    """Bytes of a pass over N rows: fixed + N * per_row."""

    fixed: int
    per_row: int

    def of(self, num_rows: int) -> int:
        """Bytes of a pass over `num_rows` rows."""
        return self.fixed + num_rows * self.per_row


@dataclass(frozen=True)
class Footprint:
    """A model as memory sees it.

    Attributes:
        weights: Bytes of all weights, adapters included.
        num_trained: Numbers that are trained.
        itemsize: Bytes of one of them.
        plain: Activations of a training pass.
        checkpointed: The same with gradient checkpointing.
        cache_row: Bytes that acting in one environment takes: a key-value cache, or a pass that keeps nothing.
    """

    weights: int
    num_trained: int
    itemsize: int
    plain: Bytes
    checkpointed: Bytes
    cache_row: int
