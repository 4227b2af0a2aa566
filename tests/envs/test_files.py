"""What is written appears whole or not at all; a place that cannot be written is a sentence that names its setting."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from tgrpo_envs.__main__ import main
from tgrpo_envs.errors import OutputError, SceneError, StateError
from tgrpo_envs.files import atomic_file, atomic_folder, naming, output, read_json, write_atomically
from tgrpo_envs.scene import load_scene
from tgrpo_envs.tasks import get_task


@contextmanager
def full_after(num_bytes: int) -> Iterator[None]:
    """Files cannot grow beyond this size, also in children, which is what a full disk does to them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(path: Path, error: BaseException) -> None:
    with atomic_file(path) as partial:
        partial.write_text("half")
        raise error


def test_a_file_that_is_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    write_atomically(path, "old")
    for error in (StateError("no"), KeyboardInterrupt(), KeyError("bug")):
        with pytest.raises(type(error)):
            write_half(path, error)
        assert path.read_text() == "old"
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["numbers.json"]


def test_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    link, target = tmp_path / "link.txt", tmp_path / "target.txt"
    link.symlink_to(target)
    write_atomically(link, "through")
    assert link.is_symlink()
    assert target.read_text() == "through"
    with pytest.raises(OutputError, match="No space left"):
        write_atomically(Path("/dev/full"), "x")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_folder_appears_whole_and_the_first_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    with atomic_folder(folder) as partial:
        (partial / "a").write_text("first")
        assert not folder.exists()
    with atomic_folder(folder) as partial:
        (partial / "a").write_text("second")
    assert (folder / "a").read_text() == "first"
    with pytest.raises(ValueError, match="bug"), atomic_folder(tmp_path / "other"):
        raise ValueError("bug")
    assert names(tmp_path) == ["scene"]


def test_a_full_disk_is_a_sentence_whoever_writes(tmp_path: Path) -> None:
    def as_hdf5(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["numbers"] = np.zeros(100_000)

    writers: list[Callable[[Path], object]] = [
        as_hdf5,
        lambda path: np.savez(path.open("wb"), numbers=np.zeros(100_000)),
        lambda path: path.write_bytes(bytes(100_000)),
    ]
    for write in writers:
        with (
            full_after(4096),
            pytest.raises(OutputError, match=r"File too large"),
            atomic_file(tmp_path / "x") as partial,
        ):
            write(partial)
    assert names(tmp_path) == []


def test_an_error_about_another_file_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_file(tmp_path / "x"):
        Path("/nowhere/elsewhere").read_text()


def test_only_errors_of_the_place_get_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file where a folder is needed.*--out"), naming(tmp_path / "file", "--out"):
        write_atomically(tmp_path / "file" / "deep" / "x", "x")
    with pytest.raises(OutputError) as other, naming(tmp_path / "other", "--out"):
        write_atomically(tmp_path / "file" / "x", "x")
    assert "--out" not in str(other.value)


def test_an_output_is_tried_before_the_work_and_leaves_no_folder_if_that_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "x", tmp_path, Path("/proc/x"), Path("/proc/x/y")):
        with pytest.raises(OutputError, match=r"--out"), output(place, "--out"):
            pytest.fail("the work began")
    with pytest.raises(StateError), output(tmp_path / "a" / "b" / "x", "--out"):
        raise StateError("no")
    assert names(tmp_path) == ["file"]


OUTPUTS = {
    "--out": ["demos", "--out"],
    "--save": ["play", "--save"],
    "--video": ["play", "--video"],
    "--out of parity": ["parity", "--task", "0", "--out"],
    "--out of bench": ["bench", "--out"],
    "--plot": ["bench", "--plot"],
    "--out of assets": ["assets", "sheet", "--out"],
    "--out of compile": ["rewards", "compile", "--task", "0", "--out"],
    "--out of prompt": ["rewards", "prompt", "--task", "0", "--out"],
    "--out of certify": ["rewards", "certify", "--task", "0", "--out"],
    "--out of report": ["rewards", "report", "--out"],
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_command_names_the_output_that_cannot_be_written(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([*OUTPUTS[name], str(tmp_path / "file" / "out.webp")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path}/file/out.webp cannot be written ({tmp_path}/file is a file where")
    assert said.rstrip().endswith(f"{name.partition(' ')[0]}.")
    assert said.count("\n") == 1


@pytest.mark.parametrize("place", ["file", "/proc/tgrpo"])
def test_a_cache_that_cannot_be_written_names_the_variable(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TGRPO_CACHE", str(tmp_path / place))
    assert main(["assets"]) == 2
    said = capsys.readouterr().err
    assert "TGRPO_CACHE" in said
    assert said.count("\n") == 1


def test_a_disk_that_is_full_during_the_first_build_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TGRPO_CACHE", str(tmp_path))
    with full_after(200_000), pytest.raises(SceneError, match=r"File too large.*TGRPO_CACHE"):
        load_scene(get_task("libero_object", 0), "primitive")
    assert [path for path in (tmp_path / "scenes").rglob("*") if not path.is_dir()] == []


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b'{"a": ' * 100_000, b""])
def test_what_is_no_json_is_one_kind_of_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('{"a": [1, 2.5, null]}')
    assert read_json(path) == {"a": [1, 2.5, None]}
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"line 1|utf-8|nested too deeply"):
        read_json(path)
