"""How long something takes and how much memory it needs, on a CPU or a GPU; and how fast a machine can be."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.trainer.roofline import Roof
from tgrpo_trainer.metrics.timing import GIB, peak_memory_gib

COPY_BYTES = {"cuda": 2 * GIB, "cpu": GIB // 8}
"""Large against every cache."""
MATRIX_SIZE = {"cuda": 8192, "cpu": 1024}


def seconds_of(function: Callable[[], object], device: torch.device, *, repeats: int, warmups: int = 1) -> float:
    """Median seconds of a call; the device has finished before and after each."""
    for _ in range(warmups):
        function()
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        function()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured_roof(device: torch.device, dtype: torch.dtype, *, repeats: int) -> Roof:
    """Bandwidth of copying a large tensor, and throughput of a large matrix product."""
    source = torch.ones(COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copying = seconds_of(lambda: target.copy_(source), device, repeats=repeats)
    size = MATRIX_SIZE[device.type]
    left = torch.randn(size, size, device=device).to(dtype)
    product = torch.empty_like(left)
    multiplying = seconds_of(lambda: torch.mm(left, left, out=product), device, repeats=repeats)
    return Roof(bytes_per_s=2 * source.nbytes / copying, flops_per_s=2 * size**3 / multiplying)


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new peak; a process's own (on a CPU) cannot be reset."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> float:
    """GiB of tensors on a GPU since the last reset; on a CPU of the whole process since its start."""
    return torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else peak_memory_gib()


def free_memory(device: torch.device) -> float:
    """GiB that are free on the device; on a CPU, what Linux says is available."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what only torch keeps is free too
        return torch.cuda.mem_get_info(device)[0] / GIB
    with open("/proc/meminfo", encoding="ascii") as lines:
        available = next(line for line in lines if line.startswith("MemAvailable"))
    return int(available.split()[1]) / 2**20
