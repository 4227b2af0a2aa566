"""Rows of the benchmark's report, as a table to read and as JSON to keep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tgrpo_envs.files import write_atomically


@dataclass(frozen=True)
class Measurement:
    """One row.

    Attributes:
        what: What was measured.
        value: The number; None where it was not run.
        unit: Its unit; ``x`` for a ratio.
        goal: The bound it is held to, in words, or empty.
        floor: Least value by the measured roofline, in the same unit; None where there is none.
        why: Why it was not run or not as usual, or empty.
    """

    what: str
    value: float | None
    unit: str
    goal: str = ""
    floor: float | None = None
    why: str = ""

    @property
    def share(self) -> float | None:
        """Percentage of the roofline that was reached."""
        return None if self.value is None or self.floor is None else 100.0 * self.floor / self.value


def not_run(what: str, unit: str, why: str, goal: str = "") -> Measurement:
    """A row without a number."""
    return Measurement(what, None, unit, goal, why=why)


def as_text(facts: dict[str, Any], rows: Sequence[Measurement], remark: str = "") -> str:
    """The report as a table under its facts, a remark at the end."""
    width = max(len(row.what) for row in rows)
    lines = [", ".join(f"{name} {value}" for name, value in facts.items()), ""]
    for row in rows:
        number = f"{'not run':>12}" if row.value is None else f"{_number(row.value):>12}"
        notes = [row.why and f"({row.why})", row.goal and f"goal {row.goal}"]
        if row.share is not None and row.floor is not None:
            notes.insert(0, f"floor {_number(row.floor)} {row.unit}, {row.share:.0f} % of the roofline")
        lines.append(f"{row.what:<{width}}{number} {row.unit:<8} {'; '.join(filter(None, notes))}".rstrip())
    return "\n".join([*lines, *(["", remark] if remark else [])])


def save_json(path: Path, facts: dict[str, Any], rows: Sequence[Measurement], remark: str = "") -> None:
    """The same numbers as JSON."""
    content = {**facts, "remark": remark, "measurements": [asdict(row) for row in rows]}
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def _number(value: float) -> str:
    """Three figures at least, without an exponent where it can be read."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"
