"""The specs that come with the package, from the goal (``compiled``) and from a language model, and their certificates.

Files lie in `specs/<suite>/`, named by task and producer: `<task>.compiled.json`, `<task>.llm.json` with
`<task>.llm.provenance.json` (who wrote it and from which prompt, with the raw reply), and
`<task>.<producer>.certificate.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tgrpo_envs.errors import SpecError
from tgrpo_envs.files import read_json
from tgrpo_envs.rewards.spec import StageSpec, load_spec, spec_id
from tgrpo_envs.tasks import Task

Producer = Literal["compiled", "llm"]
PRODUCERS: tuple[Producer, ...] = ("compiled", "llm")
SPECS_FOLDER = Path(__file__).parent / "specs"
PASSED = "passed"  # verdict of a certificate


def spec_path(task: Task, producer: Producer, folder: Path = SPECS_FOLDER) -> Path:
    """Where the spec of a task is kept."""
    return folder / task.suite / f"{task.name}.{producer}.json"


def provenance_path(task: Task, folder: Path = SPECS_FOLDER) -> Path:
    """Where it is kept who wrote the language model's spec of a task."""
    return folder / task.suite / f"{task.name}.llm.provenance.json"


def certificate_path(task: Task, producer: Producer, folder: Path = SPECS_FOLDER) -> Path:
    """Where the certificate of that spec is kept."""
    return folder / task.suite / f"{task.name}.{producer}.certificate.json"


def shipped_spec(task: Task, producer: Producer) -> StageSpec:
    """The spec that comes with the package.

    Raises:
        SpecError: There is none, or the file is damaged.
    """
    return load_spec(spec_path(task, producer))


def default_producer(task: Task, folder: Path = SPECS_FOLDER) -> Producer:
    """Whose spec pays by default: the language model's where it has passed its certificate, else the compiler's."""
    return "llm" if has_passed(task, "llm", folder) else "compiled"


def has_passed(task: Task, producer: Producer, folder: Path = SPECS_FOLDER) -> bool:
    """Whether the spec of a task is there and a certificate of this very spec says that it passed.

    A certificate says nothing about any other spec, or about another text of a task file: one that is left from before
    either was replaced does not count.
    """
    path = spec_path(task, producer, folder)
    if not path.is_file():
        return False
    certificate = _certificate(certificate_path(task, producer, folder))
    if task.has_changed_since(certificate.get("bddl_digest", "")):
        return False
    return (certificate.get("verdict"), certificate.get("spec_id")) == (PASSED, spec_id(load_spec(path)))


def _certificate(path: Path) -> dict[str, Any]:
    """A certificate, read without the simulator's side; empty where there is none."""
    try:
        document = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SpecError(f"The certificate {path} cannot be read ({error}); certify the spec again.") from error
    return document if isinstance(document, dict) else {}
