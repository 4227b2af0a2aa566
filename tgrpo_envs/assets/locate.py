"""Finds an asset pack: LIBERO's where it is on this machine, else the primitive one, written on first use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tgrpo_envs.assets.layout import ARENAS
from tgrpo_envs.assets.libero_files import holds_liberos_files
from tgrpo_envs.assets.pack import WAYS_TO_GET_LIBERO, AssetPack, folder_digest
from tgrpo_envs.assets.primitive import generate_pack
from tgrpo_envs.errors import AssetError, UnknownNameError
from tgrpo_envs.files import cache_dir, from_home

PACK_NAMES: Final = ("auto", "libero", "primitive")
CUSTOM_PACK: Final = "custom"
_LIBERO_VARIABLE: Final = "TGRPO_LIBERO_ASSETS"
# What a folder must hold to be taken for an asset pack; hf-libero's own test looks for the object folders.
_LANDMARKS: Final = ("scenes", "stable_hope_objects")


def libero_download_dir() -> Path:
    """Where hf-libero downloads its assets to, and where `download_pack` puts them."""
    return from_home("~/.cache/libero/assets", _LIBERO_VARIABLE)


def find_pack(name: str | Path = "auto") -> AssetPack:
    """Find an asset pack by name or folder.

    Args:
        name: "libero": $TGRPO_LIBERO_ASSETS, else the installed hf-libero's own `assets` folder, else the folder
            hf-libero downloads to. "primitive": written into the cache on first use. "auto": "libero" where it is
            found, else "primitive". Or a folder laid out like LIBERO's `assets`; see `pack_in` for what it is called.

    Raises:
        AssetError: LIBERO's pack is asked for and absent, or a named folder is no asset pack.
        UnknownNameError: Neither a pack's name nor a path.
    """
    if name == "primitive":
        return _primitive()
    if name in ("auto", "libero"):
        folder = _libero_folder()
        if folder is not None:
            return pack_in(folder)
        if name == "auto":
            return _primitive()
        raise AssetError(f"LIBERO's assets are not on this machine. {WAYS_TO_GET_LIBERO}")
    if isinstance(name, str) and not Path(name).is_dir() and Path(name).name == name:
        raise UnknownNameError("asset pack", name, (*PACK_NAMES, "<a folder laid out like LIBERO's assets>"))
    folder = _checked_folder(Path(name), "it was given as the asset pack")
    primitive = _primitive()
    return primitive if folder == primitive.folder else pack_in(folder)


def pack_in(folder: Path) -> AssetPack:
    """The pack in a folder, called "libero" only where hf-libero keeps its assets or where LIBERO's files lie.

    Any other is called "custom": what is found on it is not comparable with published results.
    """
    digest = folder_digest(folder)
    if folder.resolve() in (place.resolve() for place in _usual_folders()) or holds_liberos_files(folder):
        return AssetPack("libero", folder, digest)
    return AssetPack(CUSTOM_PACK, folder, f"{CUSTOM_PACK}-{digest}")  # a scene built under the other name is another


@dataclass(frozen=True)
class PackInfo:
    """One line of `python -m tgrpo_envs assets`: a pack, whether it is here, and what it covers.

    Attributes:
        name: "libero" or "primitive".
        pack: The pack, or None where it is not on this machine.
        note: What it covers, or how to get it.
    """

    name: str
    pack: AssetPack | None
    note: str


def describe_packs() -> tuple[PackInfo, ...]:
    """Both packs as they are on this machine; "auto" takes the first that has a folder.

    Raises:
        AssetError: TGRPO_LIBERO_ASSETS names something that is no asset pack.
    """
    return tuple(_describe(name) for name in ("libero", "primitive"))


def _describe(name: str) -> PackInfo:
    if name == "libero" and _libero_folder() is None:
        return PackInfo(name, None, WAYS_TO_GET_LIBERO)
    pack = find_pack(name)
    note = f"{len(pack.contents)} categories, {len(pack.problems)} of {len(ARENAS)} arenas"
    if pack.name == CUSTOM_PACK:
        note += f"; not LIBERO's own files, so results on it are labelled {CUSTOM_PACK}"
    return PackInfo(name, pack, note)


def _primitive() -> AssetPack:
    folder = generate_pack(cache_dir() / "assets")
    return AssetPack("primitive", folder, folder.name.removeprefix("primitive-"))


def _libero_folder() -> Path | None:
    named = os.environ.get(_LIBERO_VARIABLE)
    if named:
        return _checked_folder(Path(named), f"{_LIBERO_VARIABLE} names it")
    return next((folder for folder in _usual_folders() if _is_pack(folder)), None)


def _usual_folders() -> Iterator[Path]:
    # find_spec, not import: importing libero asks a question on standard input.
    spec = find_spec("libero")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield Path(place) / "libero" / "assets"
    yield libero_download_dir()


def _checked_folder(folder: Path, reason: str) -> Path:
    folder = from_home(folder, f"assets or {_LIBERO_VARIABLE}").resolve()
    if not _is_pack(folder):
        raise AssetError(
            f"{folder} is no asset pack, though {reason}: it has no folders "
            f"{' and '.join(repr(landmark) for landmark in _LANDMARKS)}. {WAYS_TO_GET_LIBERO}"
        )
    return folder


def _is_pack(folder: Path) -> bool:
    # os.path, which takes a folder that may not be looked into for none, where pathlib raises
    return all(os.path.isdir(folder / landmark) for landmark in _LANDMARKS)
