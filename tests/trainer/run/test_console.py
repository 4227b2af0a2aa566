"""What a run says: lines and bars side by side, and a run that goes on when nobody reads them any more."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TextIO

import pytest

from tests.helpers.runs import last_checkpoint
from tests.helpers.toy_run import make_toy_envs, toy_config
from tgrpo_trainer.run.console import progress, say
from tgrpo_trainer.train import train


def stream(kind: str) -> TextIO | None:
    """One that cannot be written: a pipe without a reader, a full disk, or what a caller has closed."""
    if kind == "closed":
        return None
    if kind == "full disk":
        return Path("/dev/full").open("w")
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.mark.parametrize("kind", ["no reader", "full disk", "closed"])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_run_goes_on_when_nobody_reads_what_it_says(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tgrpo_trainer.train.make_envs", make_toy_envs)
    monkeypatch.setattr("tgrpo_trainer.train.write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr("tgrpo_trainer.train._write_videos", lambda *_: None)
    unread = stream(kind)
    monkeypatch.setattr(sys, name, unread)
    train(toy_config(tmp_path / "run", iterations=1))
    assert last_checkpoint(tmp_path / "run").iteration == 1
    if unread is not None:
        unread.close()  # and nothing is left in its buffer, which Python would complain of at exit


def test_a_line_stands_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both go to the terminal; the bar is wiped away first and drawn again below."""
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("Training", 3):
        say("After 0 iterations")
    text = terminal.getvalue()
    order = [text.index("Training"), text.index("\r" + " " * 20), text.index("After 0 iterations\n")]
    assert order == sorted(order) and text.rindex("Training") > order[-1]
