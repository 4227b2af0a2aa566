"""The exception tree of both packages: every message names the value, what was allowed, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class TgrpoError(Exception):
    """Base of everything this distribution raises on purpose; catch it to catch all of them."""

    def __reduce__(self) -> tuple[Any, ...]:
        """For copies, and for another process: the message is made already, whatever a class makes it from."""
        return _again, (type(self), self.args), vars(self)


class UnknownNameError(TgrpoError, ValueError):
    """A suite, task, asset pack, reward, recipe or other name that does not exist.

    Args:
        kind: What the name should have been, in plain words ("task", "asset pack").
        got: The value that was given.
        allowed: The names that exist.
    """

    def __init__(self, kind: str, got: object, allowed: Iterable[object]) -> None:
        names = [str(name) for name in allowed]
        near = difflib.get_close_matches(str(got), names, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(repr(name) for name in near)}?" if near else _listing(names)
        super().__init__(f"Unknown {kind} {str(got)!r}. {hint}")


class AssetError(TgrpoError, FileNotFoundError):
    """An asset pack is missing or incomplete; the message names what is missing and the ways to get it."""


class BddlError(TgrpoError, ValueError):
    """A task file that is not BDDL, or leaves the subset LIBERO uses."""


class SceneError(TgrpoError, RuntimeError):
    """A scene could not be built from its task and assets."""


class StateError(TgrpoError, ValueError):
    """An initial state that does not fit the scene, or a state file that cannot be read."""


class SpecError(TgrpoError, ValueError):
    """A reward specification that is malformed or does not fit its task."""


class AuthorError(TgrpoError, RuntimeError):
    """A language model's server that refuses or fails, or a model that gave no valid spec."""


class BudgetError(AuthorError):
    """A limit on calls or tokens that the next call would exceed; nothing was sent."""


class ActionError(TgrpoError, ValueError):
    """An action of the wrong shape, or one that holds NaN or infinity."""


class PolicyError(TgrpoError, RuntimeError):
    """A policy of somebody else's, or its server, that fails, stalls, or answers with something that is no action."""


class RenderError(TgrpoError, RuntimeError):
    """A shape or an array that cannot be drawn; at detail `exact` also no usable OpenGL, or a context that died."""


class ConfigError(TgrpoError, ValueError):
    """A setting, or a combination of settings, that cannot work."""


class CheckpointError(TgrpoError, ValueError):
    """A checkpoint or demonstration file that is missing, damaged, or of another shape."""


class TrainingError(TgrpoError, ArithmeticError):
    """A training that cannot go on: a loss or gradient that is not finite, found before it can reach the weights.

    Also a GPU without enough memory, and demonstrations that could not be recorded.
    """


class OutputError(TgrpoError, OSError):
    """A file or folder that cannot be written: read-only, full, or a file where a folder is needed.

    Args:
        path: What was to be written.
        reason: What is against it, in the system's words.
        setting: What says where it is: an option (``--out``) or a variable (``TGRPO_CACHE``); empty where nothing does.
    """

    def __init__(self, path: Path, reason: str, setting: str = "") -> None:
        self.path, self.reason, self.setting = path, reason, setting
        place = f"another place with {setting}" if setting else "another place"
        super().__init__(f"{path} cannot be written ({reason}); make room for it there, or give {place}.")


class MissingExtraError(TgrpoError, ImportError):
    """A package is not installed that comes with an extra of this distribution; the message has the command."""


class RankError(TgrpoError, RuntimeError):
    """Another process of a run on several devices has failed or is gone."""


def first_line(error: BaseException) -> str:
    """What an error of another library says, without the pages that may follow; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _again(kind: type[TgrpoError], args: tuple[Any, ...]) -> TgrpoError:
    error = kind.__new__(kind, *args)
    error.args = args
    return error


def _listing(names: list[str], limit: int = 12) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"Choose one of {shown}{rest}."
