"""Writes files and folders atomically; a place that cannot be written gives one sentence."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tgrpo_envs.errors import ConfigError, OutputError, TgrpoError

CACHE_VARIABLE = "TGRPO_CACHE"
# What the system says, also inside the messages of libraries, which need not be OSErrors.
_REFUSALS = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO))


ARRAY_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    SyntaxError,
    MemoryError,
    NotImplementedError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy has been seen to raise at damaged files."""


def cache_dir() -> Path:
    """Folder for everything generated: $TGRPO_CACHE, else ~/.cache/tgrpo. Not created here.

    It is absolute, since scenes read from their folder later, and the process may be elsewhere by then.

    Raises:
        ConfigError: See `from_home`.
    """
    return from_home(os.environ.get(CACHE_VARIABLE) or "~/.cache/tgrpo", CACHE_VARIABLE).absolute()


def from_home(place: str | Path, setting: str) -> Path:
    """The path with a home folder in place of ``~`` or ``~user``.

    Args:
        place: The path.
        setting: What says another one, for the message.

    Raises:
        ConfigError: This machine knows no such home.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"This machine knows no home folder for {str(place)!r}; write a path without '~' with {setting}."
        ) from error


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON, or not UTF-8.
    """
    return load_json(path.read_text(encoding="utf-8"))


def load_json(text: str | bytes) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: It is not JSON; for Python, a hundred thousand open brackets are an error of another kind.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield the name of a file to write, which takes the place of `path` when the `with` ends well.

    It has the same ending and lies in the same folder, which is made. What is no regular file, such as /dev/stdout, is
    written as it is: a rename would put a file in its place.

    Raises:
        OutputError: The place cannot be written.
    """
    target = Path(os.path.realpath(path))
    with writing(path):
        if target.exists() and not target.is_file() and not target.is_dir():
            yield target
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.partial{target.suffix}")
        try:
            yield partial
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder to fill, renamed to `folder` when the `with` ends well; where one is by then, that one stays.

    Raises:
        OutputError: The place cannot be written.
    """
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield partial
            partial.chmod(0o755)  # mkdtemp makes folders private; a cache may be shared
            try:
                partial.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was first
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old or the new one, never a part, nor an empty one after a power cut.

    Raises:
        OutputError: The place cannot be written.
    """
    with atomic_file(path) as partial, partial.open("wb") as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def naming(place: Path, setting: str) -> Iterator[None]:
    """Let errors about `place`, or about anything in it, name the setting that says where it is.

    Raises:
        OutputError: See `atomic_file`.
    """
    try:
        yield
    except OutputError as error:
        if error.setting or not error.path.absolute().is_relative_to(place.absolute()):
            raise
        raise OutputError(error.path, error.reason, setting) from error


@contextmanager
def output(place: Path | None, setting: str, *, is_folder: bool = False) -> Iterator[None]:
    """Refuse a place that cannot be written before the work begins, and let later errors about it name the setting.

    Args:
        place: A file, or a folder, that is to be written inside the `with`; None is none.
        setting: What the user calls it, for example ``--out``.
        is_folder: Whether files are to be written into it.

    Raises:
        OutputError: See `atomic_file`.
    """
    if place is None:
        yield
        return
    with naming(place, setting):
        made = _probe(place, is_folder=is_folder)
        try:
            yield
        except BaseException:
            for folder in reversed(made):
                with suppress(OSError):  # something is in it
                    folder.rmdir()
            raise


def _probe(place: Path, *, is_folder: bool) -> list[Path]:
    """Write a nameless file where `place` is to be; the folders that had to be made, outermost first."""
    target = Path(os.path.realpath(place))
    folder = target if is_folder else target.parent
    with writing(place):
        if target.is_dir() and not is_folder:
            raise OutputError(place, "it is a folder, and a file is to be written")
        if target.exists() and not target.is_dir() and not target.is_file():
            return []  # a device
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    return missing[::-1]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says against writing `path`, a file or a folder, into an error of ours.

    Raises:
        OutputError: The place cannot be written.
    """
    try:
        yield
    except TgrpoError:
        raise
    except OSError as error:
        folder = Path(os.path.realpath(path)).parent
        named = folder if error.filename is None else Path(os.path.realpath(error.filename))
        if not (named.is_relative_to(folder) or folder.is_relative_to(named)):
            raise  # of another file
        raise OutputError(path, _reason(path, error), _setting(path)) from error
    except Exception as error:
        if not any(words in str(error) for words in _REFUSALS):
            raise
        raise OutputError(path, _reason(path, error), _setting(path)) from error


def _setting(path: Path) -> str:
    return CACHE_VARIABLE if path.absolute().is_relative_to(cache_dir().absolute()) else ""


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        absolute = path.absolute()
        files = [each for each in (absolute, *absolute.parents) if os.path.exists(each) and not os.path.isdir(each)]
        if files:
            return f"{files[-1]} is a file where a folder is needed"
    said = getattr(error, "strerror", None) or str(error)
    return next((words for words in _REFUSALS if words in said), said.partition("\n")[0])
