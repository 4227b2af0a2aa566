"""How two specs differ, line by line in the words of the file: what was added, removed, changed."""

from __future__ import annotations

import json
from typing import Any

from tgrpo_envs.rewards.spec import StageSpec


def differences(a: StageSpec, b: StageSpec) -> list[str]:
    """Lines such as ``lift_bowl_1.done.by_m: 0.05 -> 0.08``; stages are matched by their ids, rationales left out."""
    left, right = _document(a), _document(b)
    lines = _changes(left.pop("task"), right.pop("task"), "task")
    before, after = ({stage["id"]: stage for stage in document.pop("stages")} for document in (left, right))
    lines += [f"- stage {name}: {_text(before[name]['done'])}" for name in before if name not in after]
    lines += [f"+ stage {name}: {_text(after[name]['done'])}" for name in after if name not in before]
    for name in before:
        if name in after:
            lines += _changes(before[name], after[name], name)
    common = [name for name in before if name in after]
    if not lines and common != [name for name in after if name in before]:
        lines.append(f"order in the file: {', '.join(before)} -> {', '.join(after)}")
    return lines + _changes(left["maintain"], right["maintain"], "maintain")


def _document(spec: StageSpec) -> dict[str, Any]:
    document: dict[str, Any] = spec.model_dump(
        mode="json", by_alias=True, exclude={"stages": {"__all__": {"rationale"}}}
    )
    return document


def _changes(a: Any, b: Any, path: str) -> list[str]:
    if a == b:
        return []
    same_word = isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys() and a.get("op") == b.get("op")
    if same_word:
        return [line for key in a for line in _changes(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [line for i in range(len(a)) for line in _changes(a[i], b[i], f"{path}[{i}]")]
    return [f"{path}: {_text(a)} -> {_text(b)}"]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
