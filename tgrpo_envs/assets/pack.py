"""AssetPack: a folder laid out like LIBERO's assets, with a name for labels and a digest for caches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import ParseError

from tgrpo_envs.assets.layout import ARENAS, WORKSPACES, categories, object_file, referenced_files
from tgrpo_envs.errors import AssetError, UnknownNameError

WAYS_TO_GET_LIBERO: Final = (
    "To use LIBERO's meshes, set TGRPO_LIBERO_ASSETS to a folder that holds them, "
    "or download them from the Hugging Face hub with `python -m tgrpo_envs assets --download`."
)
_FILES_NAMED: Final = 8


@dataclass(frozen=True)
class AssetPack:
    """Where the shapes of a scene come from.

    Attributes:
        name: "libero", "primitive", or "custom" for a folder of the user's own: the label that results carry.
        folder: Root laid out like LIBERO's `assets` folder; hf-libero builds scenes from it.
        digest: Changes when the pack does and does not depend on where it lies; part of a scene's cache key.
    """

    name: str
    folder: Path
    digest: str

    @property
    def contents(self) -> tuple[str, ...]:
        """Sorted categories of the objects and fixtures in the pack."""
        return categories(self.folder)

    @property
    def problems(self) -> tuple[str, ...]:
        """BDDL problem names whose arena the pack holds."""
        return tuple(name for name, arena in ARENAS.items() if (self.folder / arena.scene).is_file())

    def check(self, problem: str, needed: Iterable[str]) -> None:
        """Make sure that a scene can be built, before a builder fails half way with a path nobody asked for.

        Args:
            problem: BDDL problem name in lower case ("libero_floor_manipulation").
            needed: Categories of the task's fixtures and objects; workspaces such as "floor" are part of the arena.

        Raises:
            UnknownNameError: No such problem.
            AssetError: Categories, the arena, or files they refer to are missing; the message names them.
        """
        if problem not in ARENAS:
            raise UnknownNameError("problem", problem, ARENAS)
        arena = ARENAS[problem]
        scene = self.folder / arena.scene
        files = {category: object_file(self.folder, category) for category in sorted(set(needed) - WORKSPACES)}
        lacking = [category for category, path in files.items() if path is None]
        if not scene.is_file():
            lacking.insert(0, f"the arena of {problem}")
        if lacking:
            raise AssetError(f"The {self.name} asset pack in {self.folder} lacks {', '.join(lacking)}. {self._cure()}")
        required = [self.folder / arena.floor_texture, self.folder / arena.wall_texture]
        for mjcf in (scene, *(path for path in files.values() if path is not None)):
            required += self._references(mjcf)
        self._require(required)

    def _references(self, mjcf: Path) -> list[Path]:
        try:
            return list(referenced_files(mjcf))
        except ParseError as error:
            raise AssetError(f"{mjcf} of the {self.name} asset pack is not MJCF ({error}). {self._cure()}") from error

    def _require(self, paths: Iterable[Path]) -> None:
        missing = sorted({str(path.resolve()) for path in paths if not path.is_file()})
        if missing:
            shown = ", ".join(missing[:_FILES_NAMED])
            rest = f" and {len(missing) - _FILES_NAMED} more" if len(missing) > _FILES_NAMED else ""
            raise AssetError(f"The {self.name} asset pack is incomplete; missing: {shown}{rest}. {self._cure()}")

    def _cure(self) -> str:
        if self.name == "primitive":
            return (
                f"It covers LIBERO's 130 tasks; if files were removed, delete {self.folder} and it is written again. "
                f"{WAYS_TO_GET_LIBERO}"
            )
        return f"Restore the folder, or use another. {WAYS_TO_GET_LIBERO}"


@cache
def folder_digest(folder: Path) -> str:
    """Digest of an asset folder: contents of MJCF files (they decide the physics), sizes of meshes and pictures.

    Independent of place and of modification times, so a copied pack keeps its cached scenes. Held in memory per folder.
    """
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts) or not path.is_file():
            continue
        total.update(f"{name.as_posix()}\0{path.stat().st_size}\0".encode())
        if path.suffix == ".xml":
            total.update(path.read_bytes())
    return total.hexdigest()[:16]
