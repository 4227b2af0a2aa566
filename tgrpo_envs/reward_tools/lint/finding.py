"""What a lint rule says about a spec: one fault, where it is, what was allowed, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One fault of a spec.

    Attributes:
        code: The rule: E.. are errors, W.. warnings.
        path: Place in the file, such as ``stages[2].done.all[0].within_m``; empty for the whole file.
        got: What stands there.
        allowed: What may stand there.
        why: Why that matters.
        hint: What to do about it.
    """

    code: str
    path: str
    got: str
    allowed: str
    why: str
    hint: str

    @property
    def is_error(self) -> bool:
        """Errors forbid a spec, warnings lower its score."""
        return self.code.startswith("E")

    def __str__(self) -> str:
        where = self.path or "the file"
        line = f"{self.code} {where}: got {self.got}; allowed: {self.allowed}; {self.why}; {self.hint}"
        return " ".join(line.split())


@dataclass(frozen=True)
class Fault:
    """A `Finding` before its rule has put the code on it."""

    path: str
    got: str
    allowed: str
    why: str
    hint: str

    def under(self, code: str) -> Finding:
        """The finding of the rule `code`."""
        return Finding(code, self.path, self.got, self.allowed, self.why, self.hint)


Faults = Iterator[Fault]
Check = Callable[..., Faults]
