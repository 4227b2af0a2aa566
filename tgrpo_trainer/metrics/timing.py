"""The cost of an iteration: seconds by phase, and memory. Keys: docs/metrics.md."""

from __future__ import annotations

import ctypes
import os
import resource
import time

import torch

from tgrpo_trainer.metrics.metrics import Mean

GIB = 2**30


class CostMeter:
    """Measures one iteration, from construction on.

    Args:
        device: The policy's; a GPU's peak memory is counted anew from here.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started = time.monotonic()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def metrics(self, *, env_s: float, policy_s: float, update_s: float, idle_s: float) -> dict[str, float | Mean]:
        """The iteration's costs.

        Args:
            env_s: Seconds in the environment.
            policy_s: Seconds choosing actions.
            update_s: Seconds comparing and learning.
            idle_s: Seconds waiting for other ranks.

        Returns:
            `time/*_s`, which ranks average; `memory/peak_gib`, `memory/resident_gib` and on a GPU
            `memory/gpu_peak_gib`, the largest of all ranks.
        """
        costs: dict[str, float | Mean] = {
            "time/env_s": Mean(env_s, 1),
            "time/policy_s": Mean(policy_s, 1),
            "time/update_s": Mean(update_s, 1),
            "time/idle_s": Mean(idle_s, 1),
            "time/iteration_s": Mean(time.monotonic() - self._started, 1),
            "memory/peak_gib": peak_memory_gib(),
            "memory/resident_gib": resident_memory_gib(),
        }
        if self._device.type == "cuda":
            costs["memory/gpu_peak_gib"] = torch.cuda.max_memory_allocated(self._device) / GIB
        return costs


def peak_memory_gib() -> float:
    """Largest resident memory of this process so far, in GiB (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def resident_memory_gib() -> float:
    """Present resident memory of this process, in GiB (Linux counts it in pages)."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / GIB


def return_free_memory() -> None:
    """Hand the heap's free pieces back to the system, where the C library can (glibc).

    Every iteration has another number of decisions, so the pieces that one leaves seldom fit the next, and glibc keeps
    them.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
