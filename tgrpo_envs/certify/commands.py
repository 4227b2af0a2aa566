"""The commands of this room: certify specs, and report on certificates as a table and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tgrpo_envs.tasks import Task, get_task, list_tasks


def certify(
    suite: str | None = None,
    task: int | str | None = None,
    producer: Literal["compiled", "llm"] = "compiled",
    *,
    assets: str = "primitive",
    out: Path | None = None,
) -> str:
    """Check specs against the engine and write a certificate beside each (half a minute for a task's first spec).

    Args:
        suite: Only this suite; by default all 130 tasks.
        task: Only this task of the suite, by index or name.
        producer: Whose specs: compiled or llm.
        assets: Asset pack: auto, primitive, libero, or a folder.
        out: Write the certificates to this folder, in place of the one of the shipped specs.
    """
    from tqdm import tqdm

    chosen = tqdm(_chosen(suite, task), desc="certify", unit="task", disable=None)
    return "\n".join(_certify_task(one, producer, assets, out) for one in chosen)


def report(out: Path = Path("certificates.html"), suite: str | None = None, specs: Path | None = None) -> str:
    """Show all certificates: a table of the suites, and a page with every spec's numbers and timeline.

    Args:
        out: The page to write.
        suite: Only this suite.
        specs: Folder of the certificates, in place of the one of the shipped specs.
    """
    from tgrpo_envs.certify.certificate import Certificate
    from tgrpo_envs.certify.report import html_page, text_table
    from tgrpo_envs.errors import StateError
    from tgrpo_envs.rewards.library import PRODUCERS, SPECS_FOLDER, certificate_path

    folder = specs or SPECS_FOLDER
    paths = [certificate_path(task, producer, folder) for task in list_tasks(suite) for producer in PRODUCERS]
    certificates = [Certificate.load(path) for path in paths if path.is_file()]
    if not certificates:
        raise StateError(f"{folder} holds no certificates; make them with: python -m tgrpo_envs rewards certify.")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html_page(certificates), encoding="utf-8")
    return f"{text_table(certificates)}\npage: {out}"


def _certify_task(task: Task, producer: Literal["compiled", "llm"], assets: str, out: Path | None) -> str:
    from tgrpo_envs.certify.certificate import make_certificate
    from tgrpo_envs.certify.record import load_evidence
    from tgrpo_envs.rewards.library import SPECS_FOLDER, certificate_path, shipped_spec
    from tgrpo_envs.scene import load_scene

    scene = load_scene(task, assets)
    certificate = make_certificate(shipped_spec(task, producer), producer, load_evidence(scene))
    certificate.save(certificate_path(task, producer, out or SPECS_FOLDER))
    failures = "; ".join(f"{check.id} {check.value:.3g} ({check.note})" for check in certificate.failures)
    return f"{task.suite} {task.index:>2} {certificate.verdict:<11} {task.name}" + (f": {failures}" if failures else "")


def _chosen(suite: str | None, task: int | str | None) -> tuple[Task, ...]:
    return list_tasks(suite) if task is None else (get_task(suite or "libero_object", task),)
