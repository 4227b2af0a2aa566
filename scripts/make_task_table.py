"""Writes tgrpo_envs/data/tasks.json from the installed LIBERO, without importing it."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tgrpo_envs.bddl import read_problem
from tgrpo_envs.tasks import SUITES

OUTPUT = Path(__file__).resolve().parent.parent / "tgrpo_envs" / "data" / "tasks.json"


def main() -> None:
    """Write the table and say where."""
    spec = importlib.util.find_spec("libero")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("LIBERO is not installed. Run scripts/setup.sh first.")
    libero = Path(spec.submodule_search_locations[0]) / "libero"
    names = _task_map((libero / "benchmark" / "libero_suite_task_map.py").read_text(encoding="utf-8"))
    table = {
        suite: [
            {
                "name": name,
                "instruction": instruction(name),
                "goal": read_problem(libero / "bddl_files" / suite / f"{name}.bddl").goal,
            }
            for name in names[suite]
        ]
        for suite in SUITES
    }
    OUTPUT.write_text(_dump(table), encoding="utf-8")
    sys.stdout.write(f"{OUTPUT}: {sum(map(len, table.values()))} tasks\n")


def instruction(name: str) -> str:
    """The benchmark's sentence (``grab_language_from_filename``): the name without its scene, underscores as spaces."""
    return re.sub(r"^[A-Z_]+SCENE\d+_", "", name).replace("_", " ")


def _task_map(source: str) -> dict[str, list[str]]:
    """The literal that LIBERO's module assigns to ``libero_task_map``."""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "libero_task_map":
            task_map: dict[str, list[str]] = ast.literal_eval(statement.value)
            return task_map
    sys.exit("libero_suite_task_map.py assigns no libero_task_map: this is not hf-libero 0.1.4.")


def _dump(table: Mapping[str, Sequence[Mapping[str, object]]]) -> str:
    """JSON with one task a line, so that a change is a readable diff."""
    suites = []
    for suite, tasks in table.items():
        rows = ",\n".join("    " + json.dumps(task) for task in tasks)
        suites.append(f"  {json.dumps(suite)}: [\n{rows}\n  ]")
    return "{\n" + ",\n".join(suites) + "\n}\n"


if __name__ == "__main__":
    main()
