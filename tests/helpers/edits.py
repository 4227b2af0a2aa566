"""Edits of a spec as a JSON document, each a function that changes the document in place; `mutate` combines them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Document = dict[str, Any]
Edit = Callable[[Document], None]


def setting(path: str, value: Any) -> Edit:
    """Puts a value at a path such as ``stages[2].done.all[0].within_m``."""
    keys: list[str | int] = []
    for part in path.replace("]", "").split("."):
        name, *rows = part.split("[")
        keys += [name, *map(int, rows)]

    def edit(document: Document) -> None:
        node: Any = document
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = copy.deepcopy(value)

    return edit


def renaming(old: str, new: str) -> Edit:
    """Calls an entity by another name throughout."""

    def edit(document: Document) -> None:
        for part in ("stages", "maintain"):
            document[part] = _renamed(document[part], old, new)

    return edit


def _renamed(node: Any, old: str, new: str) -> Any:
    """A document in which the entities `a` and `b` of one name have another."""
    if isinstance(node, list):
        return [_renamed(entry, old, new) for entry in node]
    if not isinstance(node, dict):
        return node
    return {
        key: new if key in ("a", "b") and value == old else _renamed(value, old, new) for key, value in node.items()
    }


def without_edge(k: int, p: int) -> Edit:
    """Stage `k` no longer waits for stage `p`."""

    def edit(document: Document) -> None:
        document["stages"][k]["after"].remove(document["stages"][p]["id"])

    return edit


def reversed_edge(k: int, p: int) -> Edit:
    """Stage `p` waits for stage `k` instead."""

    def edit(document: Document) -> None:
        stages = document["stages"]
        stages[k]["after"].remove(stages[p]["id"])
        stages[p]["after"].append(stages[k]["id"])

    return edit


def without_stage(k: int) -> Edit:
    """Stage `k` is gone; the stages behind it wait for those before it."""

    def edit(document: Document) -> None:
        gone = document["stages"].pop(k)
        for stage in document["stages"]:
            if gone["id"] in stage["after"]:
                after = [name for name in stage["after"] if name != gone["id"]]
                stage["after"] = list(dict.fromkeys([*after, *gone["after"]]))

    return edit


def lopsided(k: int) -> Edit:
    """Stage `k` has effort 5, all others 1."""

    def edit(document: Document) -> None:
        for row, stage in enumerate(document["stages"]):
            stage["effort"] = 5 if row == k else 1

    return edit


def without_rule(j: int) -> Edit:
    """Entry `j` of `maintain` is gone."""

    def edit(document: Document) -> None:
        del document["maintain"][j]

    return edit
