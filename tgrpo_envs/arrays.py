"""Converts a user's numbers (scalars, lists, arrays, tensors of any library) to numpy, or refuses them in one sentence.

Tensors are known by what they can do, not by their library, which is never imported here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.errors import ConfigError, TgrpoError

_SHOWN_CHARS = 80
_MAX_TIMEOUT_S = 86_400.0


def as_numbers(value: object, what: str, error: type[TgrpoError] = ConfigError) -> NDArray[np.float64]:
    """Numbers as float64; tensors may need a gradient, be in bfloat16 or lie on another device.

    Args:
        value: An array, a tensor, a number, or lists of them.
        what: What they are, for the message: "actions".
        error: What to raise.

    Raises:
        TgrpoError: They are no real numbers, differ in length, or some are masked. Truth values are no numbers here.
    """
    array = _as_array(value, what, error)
    if array.dtype.kind not in "fiu":
        raise error(f"{what} must be real numbers, got {shown(value)} (type {array.dtype}).")
    return array.astype(np.float64, copy=False)


def as_integers(value: object, what: str) -> NDArray[np.int64]:
    """Whole numbers as int64.

    Raises:
        ConfigError: They are none.
    """
    array = _as_array(value, what, ConfigError)
    if array.dtype.kind not in "iu" or (array.size and array.max() > np.iinfo(np.int64).max):
        raise ConfigError(f"{what} must be whole numbers, got {shown(value)} (type {array.dtype}).")
    return array.astype(np.int64, copy=False)


def as_flags(value: object, what: str) -> NDArray[np.bool_]:
    """Truth values.

    Raises:
        ConfigError: They are none; 0 and 1 are numbers.
    """
    array = _as_array(value, what, ConfigError)
    if array.dtype != np.bool_:
        raise ConfigError(f"{what} must be True or False, got {shown(value)} (type {array.dtype}).")
    return array


def whole_number(name: str, value: object, low: int, high: int | None = None) -> int:
    """One whole number as Python's; it may come as a scalar of numpy or a tensor without axes.

    Args:
        name: Of the setting.
        value: What was given.
        low: Smallest allowed.
        high: Largest allowed; None is no limit.

    Raises:
        ConfigError: It is no such number. 3.0 and True are none.
    """
    number = integer(value)
    if number is None or number < low or (high is not None and number > high):
        allowed = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise ConfigError(f"{name}={shown(value)} must be a whole number {allowed}.")
    return number


def check_timeout(name: str, seconds: float) -> None:
    """Make sure that somebody waits for a while, and not for ever.

    Raises:
        ConfigError: It is not above 0, or longer than a day.
    """
    if not 0 < seconds <= _MAX_TIMEOUT_S:
        raise ConfigError(f"{name} is {seconds}; give seconds above 0, at most {_MAX_TIMEOUT_S:g}.")


def flag(name: str, value: object) -> bool:
    """One truth value as Python's.

    Raises:
        ConfigError: It is none.
    """
    if isinstance(value, bool):
        return value
    array = as_flags(value, name)
    if array.ndim:
        raise ConfigError(f"{name}={shown(value)} must be True or False.")
    return bool(array)


def shown(value: object) -> str:
    """The value in a message: one line, not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def integer(value: object) -> int | None:
    """A whole number of any library as Python's; None if it is none."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    try:
        array = _as_array(value, "", ConfigError)
    except ConfigError:
        return None
    return int(array) if array.ndim == 0 and array.dtype.kind in "iu" else None


def _as_array(value: object, what: str, error: type[TgrpoError]) -> NDArray[Any]:
    """The value as an array, whatever its type."""
    try:
        array = np.asarray(_on_host(value))
    except (TypeError, ValueError, RuntimeError, OverflowError, AttributeError) as reason:
        raise error(f"{what} cannot be read as an array: {' '.join(str(reason).split())}") from reason
    if array.dtype.kind == "V" and "float" in array.dtype.name:  # bfloat16 as other libraries give it to numpy
        array = array.astype(np.float64)
    return array


def _on_host(value: Any) -> Any:
    """Tensors in memory that numpy can read; lists of them likewise."""
    if isinstance(value, list | tuple):
        return [_on_host(each) for each in value]
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError("some entries are masked")
    if not (hasattr(value, "detach") and hasattr(value, "cpu")):
        return value
    tensor = value.detach().cpu()
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):  # numpy has no such type (bfloat16), or a view that is not in memory as it reads
        return tensor.double().numpy()
