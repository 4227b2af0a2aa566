"""The file format of recorded episodes: a JSON header, snapshots with the names of their rows, and further arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tgrpo_envs.base_settings import first_fault
from tgrpo_envs.errors import StateError
from tgrpo_envs.files import ARRAY_ERRORS, atomic_file
from tgrpo_envs.sim.snapshot import NO_PARENT, Snapshot, SnapshotLayout

_LAYOUT_ARRAYS = ("site_half_sizes_S3", "site_parents_S", "joint_objects_J", "joint_sites_J")
_SNAPSHOT_ARRAYS = tuple(field.name for field in fields(Snapshot))

Shape = tuple[int | None, ...]
"""Sizes of an array's axes; None is any size."""


class SnapshotHeader(BaseModel):
    """The part of a file that is not arrays; each kind of file adds what it is of.

    Attributes:
        objects: As in `SnapshotLayout`.
        num_movables: As in `SnapshotLayout`.
        sites: As in `SnapshotLayout`.
        joints: As in `SnapshotLayout`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    objects: tuple[str, ...]
    num_movables: int = Field(ge=0)
    sites: tuple[str, ...]
    joints: tuple[str, ...]

    @staticmethod
    def names_of(layout: SnapshotLayout) -> dict[str, Any]:
        """The fields that say how the snapshots' rows are called."""
        return {name: getattr(layout, name) for name in SnapshotHeader.model_fields}


Header = TypeVar("Header", bound=SnapshotHeader)


@dataclass(frozen=True)
class SnapshotFile(Generic[Header]):
    """What is in a file.

    Attributes:
        header: What it is of.
        layout: Names of the snapshots' rows.
        snapshots: By the prefix of their arrays' names; any number of leading axes in place of N.
        arrays: All other arrays by name.
    """

    header: Header
    layout: SnapshotLayout
    snapshots: dict[str, Snapshot]
    arrays: dict[str, NDArray[Any]]

    def save(self, path: Path) -> None:
        """Write a compressed .npz, whole or not at all."""
        arrays: dict[str, Any] = dict(self.arrays)
        arrays |= {f"layout.{name}": getattr(self.layout, name) for name in _LAYOUT_ARRAYS}
        for prefix, snapshot in self.snapshots.items():
            arrays |= {f"{prefix}.{name}": getattr(snapshot, name) for name in _SNAPSHOT_ARRAYS}
        header = np.frombuffer(self.header.model_dump_json().encode(), dtype=np.uint8)
        with atomic_file(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, header=header, **arrays)

    @classmethod
    def load(cls, path: Path, header: type[Header], prefixes: tuple[str, ...], remedy: str) -> SnapshotFile[Header]:
        """Read what `save` wrote, numbers in double precision; nothing in the file is ever run.

        Args:
            path: The file.
            header: What its header has to be.
            prefixes: The snapshots that it has to have.
            remedy: What to do about a file that cannot be read: "record it again".

        Raises:
            StateError: The file is missing, damaged or of another format.
        """
        try:
            if path.is_file() and not zipfile.is_zipfile(
                path
            ):  # numpy would take it for a pickle, and say how to run it
                raise ValueError("it is no .npz file")
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            said = header.model_validate_json(bytes(arrays.pop("header")))
            names = {name: getattr(said, name) for name in SnapshotHeader.model_fields}
            layout = SnapshotLayout(**names, **{name: arrays.pop(f"layout.{name}") for name in _LAYOUT_ARRAYS})
            snapshots = {
                prefix: Snapshot(**{name: _double(arrays.pop(f"{prefix}.{name}")) for name in _SNAPSHOT_ARRAYS})
                for prefix in prefixes
            }
        except ValidationError as error:
            raise StateError(
                f"{path} has a header that is not of this version ({first_fault(error)}); {remedy}."
            ) from error
        except ARRAY_ERRORS as error:
            raise StateError(f"{path} cannot be read ({error}); {remedy}.") from error
        return cls(said, layout, snapshots, arrays)

    def check(
        self, path: Path, axes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, tuple[Shape, type]], remedy: str
    ) -> None:
        """Every array is finite, and has the shape and the kind that belong there.

        Args:
            path: The file, for messages.
            axes: Leading axes of each of the snapshots.
            arrays: Shape and kind of each of the other arrays.
            remedy: As for `load`.

        Raises:
            StateError: One has not, is missing, or holds NaN, infinity, or rows that do not exist.
        """
        objects, sites, joints = len(self.layout.objects), len(self.layout.sites), len(self.layout.joints)
        one = Snapshot.empty(self.layout, 1)
        expected: list[tuple[str, Any, Shape, Any]] = [
            ("site_half_sizes_S3", self.layout.site_half_sizes_S3, (sites, 3), np.floating),
            ("site_parents_S", self.layout.site_parents_S, (sites,), np.integer),
            ("joint_objects_J", self.layout.joint_objects_J, (joints,), np.integer),
            ("joint_sites_J", self.layout.joint_sites_J, (joints,), np.integer),
            *((name, self.arrays.get(name), *wanted) for name, wanted in arrays.items()),
        ]
        for prefix, snapshot in self.snapshots.items():
            for name in _SNAPSHOT_ARRAYS:
                empty = getattr(one, name)
                expected.append((name, getattr(snapshot, name), axes[prefix] + empty.shape[1:], empty.dtype.type))
        for name, array, shape, kind in expected:
            _check_array(path, name, array, shape, kind, remedy)
        for name, rows, bound in (
            ("site_parents_S", self.layout.site_parents_S, objects),
            ("joint_objects_J", self.layout.joint_objects_J, objects),
            ("joint_sites_J", self.layout.joint_sites_J, sites),
        ):
            if ((rows < NO_PARENT) | (rows >= bound)).any():
                raise StateError(f"{path}: {name} holds rows outside {NO_PARENT} to {bound - 1}; {remedy}.")


def _check_array(path: Path, name: str, array: NDArray[Any] | None, shape: Shape, kind: type, remedy: str) -> None:
    if array is None:
        raise StateError(f"{path} has no array {name}; {remedy}.")
    sizes = zip(array.shape, shape, strict=False)
    fits = array.ndim == len(shape) and all(want in (None, got) for got, want in sizes)
    if not fits or not np.issubdtype(array.dtype, kind):
        raise StateError(f"{path}: {name} is {array.dtype} of shape {array.shape} where {shape} belongs; {remedy}.")
    if np.issubdtype(kind, np.floating) and not np.isfinite(array).all():
        raise StateError(f"{path}: {name} holds NaN or infinity; {remedy}.")


def single(array: NDArray[Any]) -> NDArray[Any]:
    """An array for a file in which single precision is enough, 0.1 micrometre at 1 m; `load` makes it double again."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _double(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float64) if array.dtype == np.float32 else array
