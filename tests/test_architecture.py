"""The rules of docs/architecture.md that import-linter cannot say: outside packages, file sizes, cheap imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tgrpo_envs", "tgrpo_trainer")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
OUR_FOLDERS = ("benchmarks", "tests", "examples", "plugins", "scripts")
OURS = [
    *SOURCES,
    *sorted(path for folder in OUR_FOLDERS for path in (ROOT / folder).rglob("*.py")),
]
MAX_LINES = 400


def module_name(path: Path) -> str:
    """``tgrpo_envs.scene.build`` for tgrpo_envs/scene/build.py; a package is named by its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, anywhere in it: ``from a.b import c`` gives a.b and a.b.c."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def importers(*targets: str) -> set[str]:
    """Our modules that import one of the targets or something inside it."""
    return {
        module_name(path)
        for path in SOURCES
        if any(name == target or name.startswith(f"{target}.") for name in imports(path) for target in targets)
    }


def within(modules: set[str], *rooms: str) -> set[str]:
    return {module for module in modules if any(module == room or module.startswith(f"{room}.") for room in rooms)}


def test_the_environments_know_nothing_of_torch() -> None:
    assert within(importers("torch", "transformers"), "tgrpo_envs") == set()


def test_only_commands_run_benchmarks() -> None:
    assert importers("benchmarks") == {"tgrpo_envs.__main__", "tgrpo_trainer.__main__"}


def test_one_file_imports_libero_and_robosuite() -> None:
    assert importers("libero", "robosuite", "bddl") <= {"tgrpo_envs.scene.build"}


def test_one_file_imports_mujoco_and_only_scene_and_sim_take_it_from_there() -> None:
    """Importing it fails where variables name an OpenGL that is missing; `sim.opengl` opens the one there is."""
    assert importers("mujoco") == {"tgrpo_envs.sim.engine", "tgrpo_envs.sim.opengl"}
    found = importers("tgrpo_envs.sim.engine")
    assert found == within(found, "tgrpo_envs.scene", "tgrpo_envs.sim")


def test_one_file_talks_to_the_network_of_language_models() -> None:
    assert importers("openai", "httpx2") == {"tgrpo_envs.reward_tools.author.client"}


def test_rewards_see_snapshots_and_specs_only() -> None:
    allowed = (
        "tgrpo_envs.rewards",
        "tgrpo_envs.sim.snapshot",
        "tgrpo_envs.sim.success",  # LIBERO's thresholds: tables and functions of snapshots
        "tgrpo_envs.base_settings",
        "tgrpo_envs.bddl",
        "tgrpo_envs.tasks",
        "tgrpo_envs.errors",
        "tgrpo_envs.files",
    )
    for path in (ROOT / "tgrpo_envs" / "rewards").rglob("*.py"):
        ours = {name for name in imports(path) if name.startswith("tgrpo_envs.")}
        assert ours == within(ours, *allowed), path


def test_the_compiled_kernels_of_rewards_import_nothing_of_ours() -> None:
    """numba's cache watches the compiled file alone: after a change of what it imports it would be out of date."""
    found = imports(ROOT / "tgrpo_envs/rewards/kernels.py")
    assert {name for name in found if name.startswith(PACKAGES)} == set()
    assert within(importers("numba"), "tgrpo_envs.rewards") == {"tgrpo_envs.rewards.kernels"}


@pytest.mark.parametrize("name", ["advantages", "loss"])
def test_the_algorithms_core_imports_nothing_of_ours_but_types_and_errors(name: str) -> None:
    ours = {found for found in imports(ROOT / "tgrpo_trainer/objectives" / f"{name}.py") if found.startswith(PACKAGES)}
    assert ours == within(ours, "tgrpo_trainer.types", "tgrpo_envs.errors")


def test_the_trainer_uses_the_environments_through_gymnasium() -> None:
    for path in (ROOT / "tgrpo_trainer").rglob("*.py"):
        ours = {name for name in imports(path) if name.startswith("tgrpo_envs.")}
        shared = [
            f"tgrpo_envs.{name}"
            for name in (
                "arrays",
                "base_settings",
                "bridges",
                "command",
                "errors",
                "extras",
                "files",
                "html",
                "intervals",
                "perturbation",
                "tasks",
                "text_table",
                "recording.video",
                "shared_settings",
            )
        ]
        assert ours == within(ours, *shared), path


def test_every_third_party_import_is_a_declared_requirement() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    declared = {re.split(r"[\[<>=]", requirement)[0].lower() for requirement in requirements}
    # pydantic pins its own core; scripts/setup.sh installs hf-libero without its requirements.
    declared |= {"pydantic-core", "hf-libero"}
    distributions = packages_distributions()
    for path in SOURCES:
        for top in (
            {name.partition(".")[0] for name in imports(path)}
            - set(sys.stdlib_module_names)
            - {*PACKAGES, "benchmarks"}
        ):
            names = {distribution.lower().replace("_", "-") for distribution in distributions.get(top, [top])}
            assert names & declared, f"{path.relative_to(ROOT)} imports {top}, of which pyproject.toml knows nothing"


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_say_their_purpose(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert docstring.partition("\n")[0].strip(), "the first line says what the file is for"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("tgrpo_envs", {"mujoco", "numba", "torch", "libero", "robosuite", "openai", "cv2"}),
        ("tgrpo_envs.tasks", {"mujoco", "numba", "torch", "libero", "robosuite", "openai", "cv2"}),
        ("tgrpo_envs.rewards", {"mujoco", "numba", "torch", "libero", "robosuite", "openai", "cv2"}),
        ("tgrpo_trainer", {"mujoco", "numba", "torch", "transformers", "tgrpo_envs"}),
    ],
)
def test_importing_a_package_is_cheap(module: str, forbidden: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert forbidden & set(result.stdout.split()) == set()


def test_nothing_points_outside_the_repository() -> None:
    """No package registry's address in what is pinned."""
    for name in ("pyproject.toml", "requirements/constraints.txt"):
        assert "://" not in (ROOT / name).read_text()
