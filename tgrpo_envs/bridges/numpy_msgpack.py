"""openpi's way to put arrays into msgpack, and out of it without trusting them."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from tgrpo_envs.errors import PolicyError
from tgrpo_envs.extras import needs_extra

with needs_extra("bridges"):
    import msgpack

_DTYPE = re.compile(r"[<>|=]?[biuf][1248]")


def pack(message: object) -> bytes:
    """Bytes of dictionaries, lists, strings, numbers and arrays of numbers."""
    packed: bytes = msgpack.packb(message, default=_encode)
    return packed


def unpack(content: bytes) -> Any:
    """What `pack` packed.

    Raises:
        PolicyError: Not msgpack, or an array that is not what it says.
    """
    try:
        return msgpack.unpackb(content, object_hook=_decode)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise PolicyError(f"{len(content)} bytes are not openpi's msgpack ({error}).") from error


def array_of(content: bytes, dtype: str, shape: object) -> np.ndarray[Any, Any]:
    """An array from its bytes, where these fit its type and shape.

    Raises:
        ValueError: They do not, or the type is not one of numbers.
    """
    if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        raise ValueError(f"an array of type {dtype!r}, where numbers are allowed")
    if not isinstance(shape, list | tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError(f"an array of shape {shape!r}")
    kind = np.dtype(dtype)
    if not isinstance(content, bytes) or len(content) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"an array said to be {dtype} {list(shape)} whose bytes do not fit")
    return np.frombuffer(content, kind).reshape(shape)


def _encode(value: object) -> dict[bytes, Any]:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": list(value.shape),
        }
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _decode(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        return array_of(value[b"data"], value[b"dtype"], value[b"shape"])
    if b"__npgeneric__" in value:
        return value[b"data"]
    return value
