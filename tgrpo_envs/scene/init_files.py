"""Reads LIBERO's initial state files without letting them run code.

They are pickled numpy arrays in a torch zip (libero/libero/benchmark), and unpickling an arbitrary file runs whatever
it says. This reader resolves the few names a numpy array needs, to stand-ins that only remember what they are given,
and refuses all others; the table is then read from its bytes. It does not need torch.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tgrpo_envs.errors import StateError
from tgrpo_envs.sim.snapshot import FloatArray

MAX_BYTES = 64 << 20  # LIBERO's largest file has 0.2 MB

_ENTRY = "/data.pkl"
_CURE = "Install hf-libero again."
# What damaged zips and pickles have been seen to raise, and what the documentation of pickle adds to it.
_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ImportError,
    OverflowError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
)


class _Dtype:
    """In place of numpy.dtype: its code, and its byte order, which pickles give as state."""

    def __init__(self, code: object, _align: object = None, _copy: object = None) -> None:
        self.code = code
        self.order: object = None

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Array:
    """In place of numpy.ndarray: shape, type and raw bytes, which pickles give as state."""

    def __init__(self, _type: object, _shape: object, _code: object) -> None:
        self.shape: Any = None
        self.dtype: Any = None
        self.raw: Any = None

    def __setstate__(self, state: Any) -> None:
        _version, self.shape, self.dtype, is_fortran, self.raw = state
        if is_fortran:
            raise ValueError("columns are stored before rows")


def _encode(text: str, encoding: str) -> bytes:
    """What pickles call `_codecs.encode` for: the raw bytes of an array, carried as latin-1 text."""
    if encoding != "latin1":
        raise StateError(f"An initial state file asks for the text encoding {encoding!r}; only latin1 is allowed.")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise StateError(f"An initial state file asks to load {module}.{name}; only numpy arrays are allowed.")
        return _ALLOWED[module, name]


def read_init_file(path: Path) -> FloatArray:
    """The states of a ``.pruned_init`` file.

    Args:
        path: The file.

    Returns:
        (50, 1 + nq + nv) float64: time, qpos, qvel.

    Raises:
        StateError: The file cannot be read, or holds anything but one table of numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [info for info in archive.infolist() if info.filename.endswith(_ENTRY)]
            if not entries:
                raise ValueError(f"it has no entry named *{_ENTRY}")
            if entries[0].file_size > MAX_BYTES:
                raise ValueError(f"it holds {entries[0].file_size} bytes where {MAX_BYTES} are allowed")
            found = _ArrayUnpickler(io.BytesIO(archive.read(entries[0]))).load()
    except StateError as error:
        raise StateError(f"{path}: {error}") from error
    except _READ_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise StateError(f"{path} is not a LIBERO initial state file ({reason}). {_CURE}") from error
    if not isinstance(found, _Array) or not _is_table(found):
        raise StateError(f"{path} does not hold a table of numbers. {_CURE}")
    states_NX: FloatArray = np.frombuffer(found.raw, dtype="<f8").reshape(found.shape).astype(np.float64)
    if not np.isfinite(states_NX).all():
        raise StateError(f"{path} holds NaN or infinity. {_CURE}")
    return states_NX


def _is_table(array: _Array) -> bool:
    """Two axes of little-endian double precision numbers, and as many bytes as they need."""
    shape, dtype = array.shape, array.dtype
    if not (isinstance(dtype, _Dtype) and (dtype.code, dtype.order) == ("f8", "<") and isinstance(array.raw, bytes)):
        return False
    if not (isinstance(shape, tuple) and len(shape) == 2 and all(type(size) is int and size >= 0 for size in shape)):
        return False
    return math.prod(shape) * 8 == len(array.raw)
