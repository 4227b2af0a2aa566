"""How asset packs are found, checked, digested and downloaded, and what is said when they are not there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tgrpo_envs.assets import AssetPack, cache_dir, describe_packs, download_pack, find_pack, libero_files
from tgrpo_envs.assets.layout import ARENAS
from tgrpo_envs.assets.libero_files import holds_liberos_files
from tgrpo_envs.assets.pack import folder_digest
from tgrpo_envs.bddl import read_problem
from tgrpo_envs.errors import AssetError, MissingExtraError, UnknownNameError
from tgrpo_envs.tasks import bddl_path, list_tasks


@pytest.fixture(scope="module")
def primitive() -> AssetPack:
    return find_pack("primitive")


@pytest.mark.libero
def test_liberos_pack_covers_all_130_tasks() -> None:
    pack = find_pack("libero")
    assert set(pack.problems) == set(ARENAS)
    for task in list_tasks():
        problem = read_problem(bddl_path(task))
        pack.check(problem.name, {*problem.objects.values(), *problem.fixtures.values()})


def test_the_cache_folder_follows_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TGRPO_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    assert find_pack("primitive").folder.parent == tmp_path / "assets"
    monkeypatch.delenv("TGRPO_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home/.cache/tgrpo"


@pytest.fixture
def bare_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without LIBERO's assets."""
    monkeypatch.delenv("TGRPO_LIBERO_ASSETS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def fake_libero(folder: Path) -> Path:
    for name in ("scenes", "stable_hope_objects"):
        (folder / name).mkdir(parents=True)
    return folder.resolve()


def test_auto_takes_the_primitive_pack_where_libero_is_absent(bare_home: Path, primitive: AssetPack) -> None:
    assert find_pack() == primitive
    with pytest.raises(AssetError, match=r"not on this machine.*TGRPO_LIBERO_ASSETS.*--download"):
        find_pack("libero")
    absent, present = describe_packs()
    assert (absent.pack, present.pack) == (None, primitive)
    assert "--download" in absent.note
    assert present.note == "33 categories, 5 of 5 arenas"


def test_libero_is_found_in_its_download_folder_and_the_variable_wins(
    bare_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded = fake_libero(bare_home / ".cache/libero/assets")
    assert (find_pack().name, find_pack().folder) == ("libero", downloaded)
    assert find_pack(downloaded).name == "libero"
    named = fake_libero(bare_home / "elsewhere")
    monkeypatch.setenv("TGRPO_LIBERO_ASSETS", str(named))
    for name in ("auto", "libero"):
        assert (find_pack(name).name, find_pack(name).folder) == ("custom", named)
    assert describe_packs()[0].note.endswith("not LIBERO's own files, so results on it are labelled custom")


def test_a_variable_that_names_no_pack_is_an_error_not_a_fallback(
    bare_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TGRPO_LIBERO_ASSETS", str(bare_home / "nowhere"))
    with pytest.raises(AssetError, match=r"nowhere is no asset pack, though TGRPO_LIBERO_ASSETS names it"):
        find_pack()


def test_a_folder_is_a_pack_and_the_primitive_folder_keeps_its_name(bare_home: Path, primitive: AssetPack) -> None:
    assert find_pack(primitive.folder) == primitive
    assert find_pack(str(fake_libero(bare_home / "mine"))).name == "custom"
    with pytest.raises(AssetError, match="it was given as the asset pack"):
        find_pack(bare_home)


def test_a_copy_of_the_primitive_pack_is_not_liberos(bare_home: Path, primitive: AssetPack) -> None:
    copy = find_pack(shutil.copytree(primitive.folder, bare_home / "copy"))
    assert copy.name == "custom"
    assert copy.digest == f"custom-{folder_digest(copy.folder)}"  # no scene that was built as LIBERO's is taken


def test_liberos_files_are_told_by_contents_of_mjcf_and_sizes_of_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # FIPS 180-2's example: SHA-256 of "abc"
    table = {"a.xml": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "b/c.png": 4}
    monkeypatch.setattr(libero_files, "_table", lambda: table)

    def told(name: str, mjcf: str, picture: str | None) -> bool:
        (tmp_path / name / "b").mkdir(parents=True)
        (tmp_path / name / "a.xml").write_text(mjcf)
        if picture is not None:
            (tmp_path / name / "b" / "c.png").write_text(picture)
        (tmp_path / name / "more.xml").touch()
        return holds_liberos_files(tmp_path / name)

    assert told("whole", "abc", "1234")
    assert not told("edited", "abd", "1234")
    assert not told("longer", "abc", "12345")
    assert not told("missing", "abc", None)


@pytest.mark.libero
def test_a_copy_of_liberos_pack_is_liberos_until_it_is_edited(tmp_path: Path) -> None:
    """Links stand for the copied files, which are large."""
    pack = find_pack("libero")
    assert pack.name == "libero"
    for name, edited in (("whole", None), ("moved", "stable_hope_objects/milk/milk.xml")):
        folder = shutil.copytree(pack.folder, tmp_path / name, copy_function=os.symlink)
        (folder / "mine.xml").write_text("<mujoco/>")
        if edited is not None:
            (folder / edited).unlink()
            (folder / edited).write_text((pack.folder / edited).read_text().replace("0", "1", 1))
        assert find_pack(folder).name == ("libero" if edited is None else "custom")


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown asset pack 'primtive'\. Did you mean 'primitive'"):
        find_pack("primtive")


def test_the_digest_moves_with_the_pack_and_sees_changes(bare_home: Path, primitive: AssetPack) -> None:
    digests = []
    for name, edit in (("a", None), ("b", None), ("c", "stable_hope_objects/milk/milk.xml")):
        folder = bare_home / name
        shutil.copytree(primitive.folder, folder)
        if edit is not None:
            text = (folder / edit).read_text()
            (folder / edit).write_text(text.replace("0.95 0.3 0.1", "0.94 0.3 0.1"))  # as long as before
        digests.append(find_pack(folder).digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_pack_that_lacks_things_says_which_and_the_ways_out(bare_home: Path, primitive: AssetPack) -> None:
    folder = bare_home / "half"
    shutil.copytree(primitive.folder, folder)
    (folder / "scenes/libero_tabletop_base_style.xml").unlink()
    for category in ("akita_black_bowl", "plate"):
        shutil.rmtree(folder / "stable_scanned_objects" / category)
    with pytest.raises(AssetError) as caught:
        find_pack(folder).check("libero_tabletop_manipulation", ["main_table", "plate", "milk", "akita_black_bowl"])
    message = str(caught.value)
    assert "lacks the arena of libero_tabletop_manipulation, akita_black_bowl, plate. " in message
    for way in ("TGRPO_LIBERO_ASSETS", "python -m tgrpo_envs assets --download"):
        assert way in message
    with pytest.raises(UnknownNameError, match="libero_floor_manipulation"):
        primitive.check("libero_flor_manipulation", [])


def test_missing_and_broken_files_are_named(bare_home: Path, primitive: AssetPack) -> None:
    folder = bare_home / "damaged"
    shutil.copytree(primitive.folder, folder)
    pack = find_pack(folder)
    milk = folder / "stable_hope_objects/milk/milk.xml"
    milk.write_text(milk.read_text().replace("<asset>", '<asset><mesh name="vis" file="visual/milk.msh"/>'))
    (folder / "textures/light-gray-plaster.png").unlink()
    with pytest.raises(AssetError) as caught:
        pack.check("libero_floor_manipulation", ["floor", "milk"])
    for name in ("stable_hope_objects/milk/visual/milk.msh", "textures/light-gray-plaster.png"):
        assert str(folder.resolve() / name) in str(caught.value)
    milk.write_text("<mujoco>")
    with pytest.raises(AssetError, match=r"milk\.xml of the custom asset pack is not MJCF"):
        pack.check("libero_floor_manipulation", ["milk"])


def test_a_download_without_the_hubs_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"Downloading LIBERO's assets needs .*'tgrpo\[libero\]'"):
        download_pack()


def test_a_download_without_network_says_what_to_do() -> None:
    code = "from tgrpo_envs.assets import download_pack; download_pack()"
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("tgrpo_envs.errors.AssetError: The download of lerobot/libero-assets to ")
    assert last.endswith("set TGRPO_LIBERO_ASSETS to their folder.")
