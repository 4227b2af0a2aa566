"""The processes of a run: one alone, or several ranks that torchrun or Slurm started, and how they agree.

Everything the ranks tell each other beside gradients and weights goes through `World.gather`: each says something
small, all hear all of it, in the order of the ranks. A rank that fails says that instead, so its error ends the others
wherever they gather next. One process alone needs no process group, and gathering is free there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event
from typing import TypeVar

import torch
import torch.distributed as dist

from tgrpo_envs.errors import ConfigError, RankError, first_line

T = TypeVar("T")

_SIGN_OF_LIFE_S = 1.0
"""Between two of rank 0's while it works alone."""


@dataclass(frozen=True)
class World:
    """Who this process is among the processes of the run; the default is one process alone.

    Attributes:
        rank: From 0; rank 0 writes the files and speaks.
        size: Processes of the run.
        local_size: Processes on this machine.
        device: Where this process computes.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes the files and speaks."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """What every rank says here, in their order; all of them must come to the same call.

        Raises:
            RankError: Another rank says that it has failed (`together`), has ended or does not answer in time.
        """
        return [value] if self.size == 1 else self._exchange(value, failure=None)

    def broadcast(self, value: T) -> T:
        """What rank 0 says."""
        return self.gather(value)[0]

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.gather(None)

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's part of a sequence that all ranks have: equal contiguous parts, in the order of the ranks.

        Raises:
            ConfigError: It cannot be cut into equal parts.
        """
        if len(items) % self.size:
            raise ConfigError(f"{len(items)} cannot be spread evenly over {self.size} ranks; use a multiple of it.")
        count = len(items) // self.size
        return items[self.rank * count : (self.rank + 1) * count]

    @contextmanager
    def together(self) -> Iterator[None]:
        """A phase that succeeds or fails on all ranks: an error of one becomes an error of every one.

        Inside, ranks may gather, but not train or gather weights: those who wait in there hear nothing.

        Raises:
            RankError: On the ranks that were well, naming those that were not.
        """
        try:
            yield
        except RankError:
            raise  # known to all, or nobody is left to tell
        except Exception as error:
            if self.size > 1:
                self._exchange(None, failure=str(error) or type(error).__name__)
            raise
        self.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Inside, rank 0 may work alone for as long as it takes, and no rank gathers; all of them enter.

        The others wait without running into their timeout: they hear from rank 0 again and again, and notice its end or
        failure as in any gathering.

        Raises:
            RankError: Another rank has ended meanwhile.
        """
        if self.size == 1:
            yield
            return
        if not self.is_main:
            yield
            while self.broadcast("busy") == "busy":  # what rank 0 says
                pass
            return
        finished = Event()

        def show_life() -> None:
            while not finished.wait(_SIGN_OF_LIFE_S):
                self.broadcast("busy")

        with ThreadPoolExecutor(max_workers=1) as thread:  # the work stays in the main thread, which hears signals
            signs = thread.submit(show_life)
            try:
                yield
            finally:
                finished.set()
            signs.result()
        self.broadcast("finished")

    def _exchange(self, value: T, failure: str | None) -> list[T]:
        """Say a value or a failure, and hear all; a failure of another rank is raised unless this one has its own."""
        heard: list[tuple[str | None, T] | None] = [None] * self.size
        with translated_loss():
            dist.all_gather_object(heard, (failure, value))
        said = [one for one in heard if one is not None]
        failed = [f"rank {rank}: {text}" for rank, (text, _) in enumerate(said) if text is not None]
        if failed and failure is None:
            raise RankError(f"Stopped because of {'; '.join(failed)}")
        return [one for _, one in said]


def init_world(device: str, *, timeout_minutes: float) -> World:
    """Join the processes that torchrun (or another launcher that sets its variables) started; alone without one.

    CPU tensors and objects travel by gloo, CUDA tensors by NCCL.

    Args:
        device: auto, cpu, cuda, or where the process is alone any other torch device.
        timeout_minutes: A rank that waits longer for the others gives up.

    Raises:
        ConfigError: A device that torch does not know or this machine does not have, or a numbered one for several
            ranks; a launcher's variables that are incomplete.
        RankError: The other ranks cannot be reached.
    """
    size = _told("WORLD_SIZE", 1)
    chosen = resolve_device(device)
    if size <= 1:
        return World(device=chosen)
    if chosen.index is not None:
        raise ConfigError(f"run.device is {device!r}, but each of {size} ranks needs its own; use auto, cpu or cuda.")
    rank, local_rank, local_size = _told("RANK"), _told("LOCAL_RANK", 0), _told("LOCAL_WORLD_SIZE", 0)
    if rank >= size or not os.environ.get("MASTER_ADDR") or _told("MASTER_PORT") == 0:
        raise ConfigError(
            f"WORLD_SIZE is {size}, but RANK is {rank} and MASTER_ADDR {os.environ.get('MASTER_ADDR')}; {_LAUNCHERS}."
        )
    if chosen.type == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"Rank {local_rank} of this machine has no GPU, there are {torch.cuda.device_count()}; start as many "
                "processes a machine as it has GPUs (torchrun --nproc-per-node), or use --run.device cpu."
            )
        chosen = torch.device("cuda", local_rank)
        torch.cuda.set_device(chosen)
    with translated_loss():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=timedelta(minutes=timeout_minutes)
        )
    return World(dist.get_rank(), size, local_size or size, chosen)


_LAUNCHERS = "start ranks with torchrun or another launcher, which says it all, or unset WORLD_SIZE for one process"


def _told(name: str, default: int | None = None) -> int:
    """A number that a launcher leaves in the environment.

    Raises:
        ConfigError: It is no whole number, or not there and has no default.
    """
    given = os.environ.get(name) or (None if default is None else str(default))
    if given is None or not given.isdecimal():
        raise ConfigError(f"The variable {name} is {given!r}, not a whole number; {_LAUNCHERS}.")
    return int(given)


def leave_world(world: World) -> None:
    """Part from the other ranks after a run that ended well."""
    if world.size > 1:
        world.barrier()
        dist.destroy_process_group()


@contextmanager
def translated_loss() -> Iterator[None]:
    """Say in one sentence that another rank is gone or silent, where torch says it in a stack of C++ frames.

    Raises:
        RankError: For every error of torch's communication; other errors pass.
    """
    try:
        yield
    except RankError:
        raise  # said already, with torch's words in it
    except RuntimeError as error:
        if not is_loss_of_contact(error):
            raise
        first = first_line(error)
        if "timed out" in first.lower():
            what = (
                "Another rank does not answer: it is cut off, or busy for longer than ranks wait for one another (in a "
                "run --run.rank-timeout-minutes), so this one stops too."
            )
        else:
            what = "Another rank has ended, or cannot be reached, so this one stops too; its own message says why."
        raise RankError(f"{what} Everything up to the last checkpoint is on disk. ({first})") from error


def is_loss_of_contact(error: RuntimeError) -> bool:
    """Whether it comes from torch's communication: gloo raises plain RuntimeErrors that name their source file."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "Gloo", "NCCL"))


def resolve_device(name: str) -> torch.device:
    """The torch device; auto takes a GPU where there is one.

    Raises:
        ConfigError: torch does not know the name, or the machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"run.device is {name!r}; use auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"run.device is {name!r}, but torch sees {torch.cuda.device_count()} GPUs here; use auto or cpu, or look "
            "at nvidia-smi for one that has disappeared."
        )
    if device.type not in ("cpu", "cuda"):
        try:
            torch.zeros(1, device=device).item()
        except Exception as error:  # each kind of device has its own way to say that it is not here
            raise ConfigError(
                f"run.device is {name!r}, where torch cannot compute on this machine; use auto, cpu, cuda or cuda:N."
            ) from error
    return device
