"""Damaged files of initial states: whatever the damage, the loader returns a table of numbers or one clear error."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tgrpo_envs.errors import SceneError, StateError
from tgrpo_envs.scene.files import STATES_FILE, read_states
from tgrpo_envs.scene.init_files import read_init_file
from tgrpo_envs.tasks import get_task, init_states_path

REAL = init_states_path(get_task("libero_object", 0)).read_bytes()
PAYLOAD = zipfile.ZipFile(io.BytesIO(REAL)).read("archive/data.pkl")
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = [
    b"",
    b"\xff" * 8,
    b"\x00",
    b".",
    b"R",
    b"b",
    b"cos\nsystem\n",
    b"(lp0\n",
    b"\x82\x01",
    b"Q",
    b"999999999",
    b"O8",
]


def damage(data: st.DataObject, text: bytes) -> bytes:
    """Some bytes replaced, added or lost, most often near one of the ends, where the structure is; or a cut."""
    for _ in range(data.draw(st.integers(1, 3))):
        near = st.integers(0, min(400, len(text)))
        start = data.draw(near | near.map(lambda i: len(text) - i) | st.integers(0, len(text)))  # noqa: B023
        if data.draw(st.integers(0, 9)) == 0:
            text = text[:start]
        else:
            length = data.draw(st.integers(0, 12))
            text = text[:start] + data.draw(st.sampled_from(WORDS) | st.binary(max_size=8)) + text[start + length :]
    return text


def refusal(read: Callable[[Path], np.ndarray], path: Path, kind: type[Exception]) -> str | None:
    """The message with which the file is refused; None where it is read, as a table of numbers then."""
    try:
        states_NX = read(path)
    except kind as error:
        return str(error)
    assert isinstance(states_NX, np.ndarray) and states_NX.dtype == np.float64
    return None


@FUZZ
@given(data=st.data())
def test_a_damaged_archive_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "states.pruned_init"
    path.write_bytes(damage(data, REAL))
    message = refusal(read_init_file, path, StateError)
    assert message is None or str(path) in message


@FUZZ
@given(data=st.data())
def test_a_damaged_pickle_in_a_sound_archive_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "states.pruned_init"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", damage(data, PAYLOAD))
    message = refusal(read_init_file, path, StateError)
    assert message is None or str(path) in message


@FUZZ
@given(data=st.data())
def test_damaged_states_of_a_scene_are_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((50, 110)), allow_pickle=False)
    (tmp_path / STATES_FILE).write_bytes(damage(data, buffer.getvalue()))
    message = refusal(read_states, tmp_path, SceneError)
    assert message is None or STATES_FILE in message


class Recorder:
    """What a pickle may build that numpy would rather not see."""

    def __init__(self, *state: object) -> None:
        self.state = state

    def __reduce__(self) -> tuple[object, ...]:
        return (*np.zeros((1, 1)).__reduce__()[:2], self.state)


F8 = np.dtype("<f8")


@pytest.mark.parametrize(
    "state",
    [
        (1, (50, 3), F8, False, b"short"),
        (1, (1 << 40, 1 << 40), F8, False, b""),
        (1, (-1, -3), F8, False, b"\0" * 24),
        (1, (2,), F8, False, b"\0" * 16),
        (1, (1, 1), np.dtype("O"), False, [len]),
        (1, (1, 2), np.dtype("<f4"), False, b"\0" * 8),
        (1, (1, 1), np.dtype(">f8"), False, b"\0" * 8),
        (1, (True, 1), F8, False, b"\0" * 8),
        (1, "ab", F8, False, b"\0" * 8),
        (1, (1, 1), F8, True, b"\0" * 8),
        (1, (1, 1)),
    ],
)
def test_arrays_that_do_not_add_up_are_refused(state: tuple[object, ...], tmp_path: Path) -> None:
    path = tmp_path / "states.pruned_init"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Recorder(*state)))
    with pytest.raises(StateError, match=r"Install hf-libero|only numpy arrays"):
        read_init_file(path)


def test_a_huge_entry_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "states.pruned_init"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (65 << 20))
    with pytest.raises(StateError, match="bytes where"):
        read_init_file(path)
