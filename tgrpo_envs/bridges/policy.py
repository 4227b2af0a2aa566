"""What an evaluation asks of a policy, whatever it is: what it sees, what it answers, and a Python function as one."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.arrays import as_numbers
from tgrpo_envs.errors import ConfigError, PolicyError
from tgrpo_envs.sim.snapshot import FloatArray

ACTION_SIZE = 7


@dataclass(frozen=True)
class Seen:
    """What n running episodes of one task show before a decision.

    Attributes:
        pictures: uint8 (n, H, W, 3) of ``agentview`` and ``wrist``, upright.
        proprio_nP: (n, 12) float32, as the environments give it.
        state_n8: (n, 8) LIBERO's state, see `bridges.libero.state`.
        instruction: Of the task.
        episodes: A number for each, which no other episode of the evaluation has.
        control_steps_n: Control steps that each has played.
    """

    pictures: Mapping[str, NDArray[np.uint8]]
    proprio_nP: NDArray[np.float32]
    state_n8: FloatArray
    instruction: str
    episodes: tuple[int, ...]
    control_steps_n: NDArray[np.int64]


class OutsidePolicy(Protocol):
    """A policy as an evaluation plays it."""

    image_size: int
    """Side in pixels of the pictures to draw for it."""
    replan_steps: int
    """Control steps that are played of each answer."""
    detail: str
    """How to draw them, ``exact`` or ``fast``."""

    def act(self, seen: Seen) -> Sequence[FloatArray]:
        """For each episode the next control steps, (at least `replan_steps`, 7); -1 opens the gripper, +1 closes it.

        Raises:
            PolicyError: It failed, stalled, or its answer is no action.
        """

    def end(self, episode: int) -> None:
        """This episode is over."""

    def close(self) -> None:
        """No more episodes come."""


def check_actions(answer: object, whose: str, replan_steps: int) -> FloatArray:
    """One episode's answer as float64 (C, 7), C at least `replan_steps`.

    Args:
        answer: (C, 7), or (7,) for one control step.
        whose: Who gave it, for the message.
        replan_steps: How many of them will be played.

    Raises:
        PolicyError: Another shape, no numbers, NaN or infinity.
    """
    given = as_numbers(answer, f"{whose}: its actions", PolicyError)
    actions_CA = np.atleast_2d(given)
    if actions_CA.ndim != 2 or actions_CA.shape[1] != ACTION_SIZE or len(actions_CA) < replan_steps:
        raise PolicyError(
            f"{whose} answered with the shape {given.shape}; LIBERO's actions have the shape (C, {ACTION_SIZE}) "
            f"with C at least {replan_steps}, the control steps that are played of each answer (--replan-steps)."
        )
    if not np.isfinite(actions_CA).all():
        raise PolicyError(f"{whose} answered with NaN or infinity; actions are numbers in [-1, 1].")
    return actions_CA


class FunctionPolicy:
    """A function of a dictionary with rows for the n running episodes.

    The keys are ``agentview`` and ``wrist`` (n, H, W, 3; upright), ``proprio`` (n, 12), ``state`` (n, 8; LIBERO's),
    ``instruction`` (a list of n), ``episode`` and ``control_step`` (n,). It returns actions (n, 7) or (n, C, 7).

    Args:
        name: ``module:function``; the module is looked for in the present folder too.
        image_size: Side of the pictures, pixels.
        replan_steps: Control steps to play of each answer.

    Raises:
        ConfigError: There is no such function.
    """

    detail = "exact"

    def __init__(self, name: str, image_size: int, replan_steps: int) -> None:
        self.name, self.image_size, self.replan_steps = name, image_size, replan_steps
        self._function = _find(name)

    def act(self, seen: Seen) -> Sequence[FloatArray]:
        """See `OutsidePolicy.act`."""
        count = len(seen.episodes)
        rows = {
            **seen.pictures,
            "proprio": seen.proprio_nP,
            "state": seen.state_n8,
            "instruction": [seen.instruction] * count,
            "episode": np.array(seen.episodes),
            "control_step": seen.control_steps_n,
        }
        try:
            answer = self._function(rows)
        except (Exception, SystemExit) as error:
            raise PolicyError(f"{self.name} failed with {_reason(error)}.") from error
        answers = as_numbers(answer, f"{self.name}: its actions", PolicyError)
        if answers.ndim not in (2, 3) or len(answers) != count:
            raise PolicyError(
                f"{self.name} answered with the shape {answers.shape}; for {count} episodes it is ({count}, 7) or "
                f"({count}, C, 7)."
            )
        return [check_actions(one, self.name, self.replan_steps) for one in answers]

    def end(self, episode: int) -> None:
        """Nothing to do: ``episode`` tells the function which episodes are over."""

    def close(self) -> None:
        """Nothing to do."""


def _reason(error: BaseException) -> str:
    """What somebody else's code says, in one line, and where."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said} ({place.filename}, line {place.lineno})"


def _find(name: str) -> Callable[[dict[str, Any]], Any]:
    module_name, _, function_name = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        raise ConfigError(f"The policy {name!r} was not found ({_reason(error)}); give module:function.") from error
    if not callable(function):
        raise ConfigError(f"The policy {name!r} is a {type(function).__name__}, not a function.")
    found: Callable[[dict[str, Any]], Any] = function
    return found
