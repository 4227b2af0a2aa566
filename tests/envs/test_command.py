"""How commands end: Ctrl-C and SIGTERM give one line, the usual exit code, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.processes import ROOT, alive, children_of, started, wait_until
from tgrpo_envs.command import Interrupted, Interruption, listening, postponing, run_child, run_command, visible
from tgrpo_envs.errors import ConfigError

ENDINGS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
LINE = "Interrupted; nothing unfinished was left behind."
BUILDER = "tgrpo_envs.scene.build"

# A command that writes a file and has a child that writes another, both for ever.
WRITERS = """
import subprocess, sys, time
from pathlib import Path
from tgrpo_envs.command import run_child, run_command, visible
from tgrpo_envs.files import atomic_file

def write(name, go_on):
    with atomic_file(Path(name)) as partial:
        partial.write_text("half")
        go_on()

def child():
    write("child.txt", lambda: time.sleep(1000))

def parent():
    write("parent.txt", lambda: run_child([sys.executable, __file__, "child"]))

if __name__ == "__main__":
    sys.exit(run_command(child if sys.argv[1:] else parent))
"""


def said(folder: Path) -> list[str]:
    text = (folder / "stderr").read_text().replace("\r", "\n")
    assert "Traceback" not in text, text
    return [line for line in text.splitlines() if "nterrupt" in line]


@pytest.mark.parametrize(("number", "code"), ENDINGS)
@pytest.mark.parametrize("to_all", [False, True], ids=["to the parent", "to the group, as a terminal does"])
def test_a_signal_leaves_neither_files_nor_children(tmp_path: Path, number: int, code: int, *, to_all: bool) -> None:
    script = tmp_path / "writers.py"
    script.write_text(WRITERS)
    with started(str(script), folder=tmp_path) as process:
        wait_until(lambda: len(list(tmp_path.glob(".*.partial.txt"))) == 2, process)
        children = children_of(process.pid)
        (os.killpg if to_all else os.kill)(process.pid, number)
        assert process.wait() == code
    assert len(children) == 1
    assert not alive(children[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stderr", "stdout", "writers.py"]
    assert said(tmp_path) == [LINE]


COMMANDS = {
    "demos": ["demos", "--out", "out/demos.hdf5"],
    "play": ["play", "--save", "out/episode.npz", "--video", "out/episode.mp4"],
    "expert": ["expert"],
    "states": ["states", "--suite", "libero_object", "--task", "0"],
    "assets": ["assets", "sheet", "--out", "out/sheet.webp"],
    "parity": ["parity", "--suite", "libero_object", "--task", "0", "--out", "out/parity.json"],
    "bench": ["bench", "--out", "out/bench.json"],
    "certify": ["rewards", "certify", "--suite", "libero_object", "--task", "0", "--out", "out/specs"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_builds_a_scene_takes_the_builder_along(tmp_path: Path, name: str) -> None:
    number, code = ENDINGS[list(COMMANDS).index(name) % 2]
    cache = tmp_path / "cache"
    arguments = ["-m", "tgrpo_envs", *COMMANDS[name], "--assets", "primitive"]
    with started(*arguments, folder=tmp_path, TGRPO_CACHE=str(cache), TMPDIR=str(tmp_path)) as process:
        wait_until(lambda: children_of(process.pid, BUILDER) != [], process)
        builders = children_of(process.pid, BUILDER)  # not what they start: a search for a library ends by itself
        os.kill(process.pid, number)
        assert process.wait() == code, (tmp_path / "stderr").read_text()
    assert said(tmp_path) == [LINE]
    assert not any(alive(pid) for pid in builders)
    left = {path.name for path in tmp_path.iterdir()} - {"stdout", "stderr", "cache", "robosuite.log"}
    assert left == set()
    scenes = [path for path in cache.rglob("*") if "scenes" in path.relative_to(cache).parts[:1] and path.is_file()]
    assert scenes == []


def test_a_signal_while_a_child_starts_ends_the_child_too(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[str]] = []

    class Interrupting(subprocess.Popen[str]):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            children.append(self)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Interrupting)
    with pytest.raises(Interrupted), listening(Interruption()):
        run_child([sys.executable, "-c", "import time; time.sleep(600)"])
    assert [child.returncode for child in children] == [-signal.SIGTERM]


def test_a_child_has_nothing_to_read() -> None:
    """What asks, such as a debugger, is told at once that nobody answers."""
    terminal, nobody_writes = os.pipe()
    stdin = os.dup(0)
    os.dup2(terminal, 0)
    try:
        done = run_child([sys.executable, "-c", "input()"], stderr=subprocess.PIPE, timeout_s=30.0)
    finally:
        os.dup2(stdin, 0)
        for descriptor in (stdin, terminal, nobody_writes):
            os.close(descriptor)
    assert done.stderr.endswith("EOFError: EOF when reading a line\n")


def test_a_postponed_signal_is_heard_when_its_turn_comes() -> None:
    heard: list[str] = []
    with listening(lambda *_: heard.append("signal")):
        with postponing() as hear:
            signal.raise_signal(signal.SIGTERM)
            heard.append("first")
            hear()
            heard.append("then")
        with postponing():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            heard.append("work")
    assert heard == ["first", "signal", "then", "work", "signal"]


def test_signals_at_the_same_moment_are_one(capsys: pytest.CaptureFixture[str]) -> None:
    """`timeout` sends SIGTERM to a process and again to its group: the second must not disturb the tidying up."""
    tidied = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            tidied.append(True)

    assert run_command(work) == 143
    assert tidied == [True]
    assert capsys.readouterr().err.strip() == LINE


def test_what_the_parent_has_us_ignore_stays_ignored() -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with listening(Interruption()):
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_full_standard_output_is_one_sentence(tmp_path: Path) -> None:
    full = "import sys; from tgrpo_envs.__main__ import main; sys.stdout = open('/dev/full', 'w'); "
    with started("-c", f"{full} sys.exit(main(['tasks']))", folder=tmp_path) as process:
        assert process.wait() == 2
    assert (tmp_path / "stderr").read_text().startswith("error: Standard output cannot be written (No space left")


TALKER = """
import sys
from tgrpo_envs.command import run_command

def talk():
    while True:
        print("on the way", file=sys.STREAM, flush=True)

sys.exit(run_command(talk))
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_command_that_loses_its_reader_on_the_way_has_not_ended_well(tmp_path: Path, stream: str) -> None:
    (tmp_path / "talker.py").write_text(TALKER.replace("STREAM", stream))
    pipe = f"{sys.executable} talker.py 2>&1 | head -c 1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", pipe], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (128 + signal.SIGPIPE, "o", "")


@pytest.mark.parametrize("there", ["2> /dev/full", "2>&-"])
def test_where_a_refusal_cannot_be_written_the_exit_code_says_it(there: str) -> None:
    result = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m tgrpo_envs rewards compile --task 10 {there}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout, result.stderr) == (2, "", "")


def test_an_error_of_ours_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise ConfigError("No.")

    assert run_command(refuse, where=" on rank 3") == 2
    assert capsys.readouterr().err == "error on rank 3: No.\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tof caf\u00e9, \u4e2d and \u00a0wide spaces", None),
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),  # clears the screen, renames the window
        ("a\rb\x08c\x9b31m", r"a\rb\x08c\x9b31m"),
        ("st\u200bages \u202egnp.exe", r"st\u200bages \u202egnp.exe"),  # nothing to be seen; right to left
        ("half \ud800", r"half \ud800"),  # which UTF-8 lacks
    ],
)
def test_nothing_that_is_printed_steers_the_terminal(
    text: str, shown: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> str:
        raise ConfigError(text)

    shown = text if shown is None else shown
    assert visible(text) == shown
    assert (run_command(lambda: text), run_command(fail)) == (0, 2)
    assert capsys.readouterr() == (f"{shown}\n", f"error: {shown}\n")
