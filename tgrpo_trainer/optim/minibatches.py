"""Which rows of the batch of all ranks this rank computes: the same minibatches for every number of ranks.

The rows of all ranks are numbered through, rank after rank, as one process that had collected all groups would number
them. Every rank shuffles these numbers with the same generator, cuts them into the same minibatches, and computes those
of its own rows that fell into each. FSDP gathers weights in every pass, so all ranks make equally many: a rank that has
fewer rows of a minibatch than the busiest one makes its last passes over rows that count nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tgrpo_trainer.distributed.world import World
from tgrpo_trainer.types import Batch


@dataclass(frozen=True)
class Minibatch:
    """One optimiser step's rows, as this rank sees them.

    Attributes:
        parts: Rows of this rank's batch for one pass each; an empty one stands for a pass that counts nothing. Equally
            many on all ranks.
        denominator: Sum of the weights of the whole minibatch.
    """

    parts: tuple[Tensor, ...]
    denominator: float


@dataclass(frozen=True)
class MinibatchSampler:
    """Where each rank's rows lie in the batch of all ranks.

    Attributes:
        rank: This one.
        starts: First row of each rank, and the number of all rows at the end.
        weights_M: float64 weights of all M rows of all ranks.
    """

    rank: int
    starts: tuple[int, ...]
    weights_M: Tensor

    @classmethod
    def of(cls, batch: Batch, world: World) -> MinibatchSampler:
        """Ask all ranks for their rows' weights."""
        weights = world.gather(batch.weights_N)
        starts = torch.tensor([0, *(len(each) for each in weights)]).cumsum(0).tolist()
        return cls(world.rank, tuple(starts), torch.cat(weights))

    def minibatches(self, size: int, microbatch_size: int, generator: torch.Generator) -> Iterator[Minibatch]:
        """One pass over all rows, shuffled, in parts of nearly equal size: a small last part would be one noisy step.

        Args:
            size: Most rows of a minibatch, of all ranks together.
            microbatch_size: Most rows of a rank's pass.
            generator: The same on all ranks.
        """
        shuffled = torch.randperm(self.starts[-1], generator=generator)
        for rows in shuffled.tensor_split(-(-self.starts[-1] // size)):
            yield Minibatch(self._parts(rows, microbatch_size), float(self.weights_M[rows].sum()))

    def _parts(self, rows: Tensor, microbatch_size: int) -> tuple[Tensor, ...]:
        owner = torch.bucketize(rows, torch.tensor(self.starts[1:-1], dtype=torch.int64), right=True)
        busiest = int(torch.bincount(owner, minlength=len(self.starts) - 1).max())
        mine = rows[owner == self.rank] - self.starts[self.rank]
        parts = torch.split(mine, microbatch_size) if len(mine) else ()
        num_passes = -(-busiest // microbatch_size)
        return (*parts, *(rows.new_empty(0) for _ in range(num_passes - len(parts))))
