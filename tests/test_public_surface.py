"""Names and parameters that users have in their code change on purpose only."""

from __future__ import annotations

from tests.helpers.surface import FILE, surface


def test_the_public_surface_is_the_recorded_one() -> None:
    """After a change that is meant: `python -m tests.helpers.surface`, and a line in CHANGELOG.md."""
    assert surface() == FILE.read_text(encoding="utf-8")
