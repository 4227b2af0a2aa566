"""What users may import and call: `python -m tests.helpers.surface` writes it to tests/public_surface.txt."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "tests" / "public_surface.txt"
PACKAGES = ["tgrpo_envs", "tgrpo_envs.rewards", "tgrpo_envs.scene", "tgrpo_envs.assets", "tgrpo_envs.expert"]
PACKAGES += ["tgrpo_envs.reward_tools.lint", "tgrpo_trainer.policy", "tgrpo_trainer.report"]


def documented() -> list[str]:
    """Modules and classes that the API pages show."""
    pages = sorted((ROOT / "docs" / "reference").glob("*.md"))
    return sorted({name for page in pages for name in re.findall(r"(?m)^::: (\S+)", page.read_text())})


def surface() -> str:
    """One line a name: its dotted path, and the parameters or fields it takes."""
    lines = {line for name in [*PACKAGES, *documented()] for line in _lines(name)}
    return "".join(f"{line}\n" for line in sorted(lines))


def _lines(name: str) -> Iterator[str]:
    try:
        module: ModuleType | None = importlib.import_module(name)
    except ModuleNotFoundError:
        module = None
    if module is None:
        home, _, attribute = name.rpartition(".")
        yield from _of(name, getattr(importlib.import_module(home), attribute))
        return
    own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == name]
    for key in getattr(module, "__all__", own):
        if not key.startswith("_"):
            yield from _of(f"{name}.{key}", getattr(module, key))


def _of(path: str, value: object) -> Iterator[str]:
    if not inspect.isclass(value):
        yield f"{path}{_parameters(value)}" if inspect.isfunction(value) else path
        return
    yield f"{path}({', '.join(_fields(value))})"
    for key, member in vars(value).items():
        if not key.startswith("_") and inspect.isfunction(member):
            yield f"{path}.{key}{_parameters(member)}"


def _fields(kind: type) -> list[str]:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind) if field.init]
    if issubclass(kind, BaseModel):
        return list(kind.model_fields)
    own = vars(kind).get("__init__")
    return list(inspect.signature(own).parameters)[1:] if inspect.isfunction(own) else []


def _parameters(function: object) -> str:
    assert callable(function)
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    return f"({', '.join(names)})"


if __name__ == "__main__":
    FILE.write_text(surface(), encoding="utf-8")
