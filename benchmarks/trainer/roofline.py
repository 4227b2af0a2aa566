"""The roofline: how fast a card could be at best, and what share of that was reached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.trainer.work import Work


@dataclass(frozen=True)
class Roof:
    """The two limits of a machine.

    Attributes:
        bytes_per_s: Memory bandwidth, reading and writing together.
        flops_per_s: Throughput of matrix products in 16 bits, without sparsity.
    """

    bytes_per_s: float
    flops_per_s: float

    def seconds(self, work: Work) -> float:
        """Least time of some work: it must move its bytes and do its operations, at best both at once."""
        return max(work.nbytes / self.bytes_per_s, work.flops / self.flops_per_s)


def floor_seconds(roof: Roof, phases: Iterable[Work]) -> float:
    """Least time of phases that follow one another."""
    return sum(roof.seconds(phase) for phase in phases)


# By the name the driver gives. From NVIDIA's data sheets of H200, H100 and A100 and its white paper on Ada (RTX 4090):
# bandwidth, and dense bfloat16 with float32 accumulation. The sheets of Hopper print twice that, with sparsity.
DATA_SHEETS: dict[str, Roof] = {
    "NVIDIA H200": Roof(4.8e12, 989.4e12),
    "NVIDIA H200 NVL": Roof(4.8e12, 835.5e12),
    "NVIDIA H100 80GB HBM3": Roof(3.35e12, 989.4e12),
    "NVIDIA H100 PCIe": Roof(2.0e12, 756.0e12),
    "NVIDIA H100 NVL": Roof(3.9e12, 835.5e12),
    "NVIDIA A100-SXM4-80GB": Roof(2.039e12, 312.0e12),
    "NVIDIA A100 80GB PCIe": Roof(1.935e12, 312.0e12),
    "NVIDIA A100-SXM4-40GB": Roof(1.555e12, 312.0e12),
    "NVIDIA GeForce RTX 4090": Roof(1.008e12, 165.2e12),
}
