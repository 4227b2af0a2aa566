"""Reads LIBERO's initial state files without letting them run code.

They are pickled numpy arrays in a torch zip (libero/libero/benchmark), and unpickling an arbitrary file runs whatever
it says. This reader resolves the few names a numpy array needs and refuses all others; it does not need torch.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tgrpo_envs.errors import StateError
from tgrpo_envs.sim.snapshot import FloatArray

_READ_ERRORS = (OSError, zipfile.BadZipFile, StopIteration, pickle.UnpicklingError, EOFError, ValueError, TypeError)

MAX_BYTES = 64 << 20  # LIBERO's largest file has 0.2 MB


def _encode(text: str, encoding: str) -> bytes:
    """What pickles call `_codecs.encode` for: the raw bytes of an array, carried as latin-1 text."""
    if encoding != "latin1":
        raise StateError(f"An initial state file asks for the text encoding {encoding!r}; only latin1 is allowed.")
    return text.encode("latin1")


_reconstruct = np.zeros(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
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
        StateError: The file cannot be read, or holds anything but one array of numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
            if entry.file_size > MAX_BYTES:
                raise StateError(f"{path} holds {entry.file_size} bytes; {MAX_BYTES} are allowed.")
            states = _ArrayUnpickler(io.BytesIO(archive.read(entry))).load()
    except StateError:
        raise
    except _READ_ERRORS as error:
        raise StateError(f"{path} is not a LIBERO initial state file ({error}). Install hf-libero again.") from error
    if not isinstance(states, np.ndarray) or states.ndim != 2 or states.dtype != np.float64:
        raise StateError(f"{path} does not hold a table of numbers. Install hf-libero again.")
    if not np.isfinite(states).all():
        raise StateError(f"{path} holds NaN or infinity. Install hf-libero again.")
    return states
