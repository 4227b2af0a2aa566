"""The commands of this room: certify specs, and report on certificates as a table and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tgrpo_envs.files import output, write_atomically
from tgrpo_envs.tasks import Task, get_task, list_tasks

if TYPE_CHECKING:
    from tgrpo_envs.reward_tools.certify.certificate import Certificate


def certify(
    suite: str | None = None,
    task: int | str | None = None,
    producer: Literal["compiled", "llm"] = "compiled",
    *,
    states: Literal["certification", "selection"] = "certification",
    draw: int | None = None,
    assets: str = "primitive",
    out: Path | None = None,
) -> str:
    """Check specs against the engine and write a certificate beside each (half a minute for a task's first spec).

    To choose among specs or to repair one, look at what fails with --states selection, which writes nothing. Then
    certify: on states that nobody has looked at, for a spec that replaces a certified one gets the next draw.

    Args:
        suite: Only this suite; by default all 130 tasks.
        task: Only this task of the suite, by index or name.
        producer: Whose specs: compiled or llm.
        states: certification, or selection, which prints what fails and writes nothing.
        draw: Which draw of initial states; by default that of the task's certificate, or the one after it where that
            certificate is of another spec.
        assets: Asset pack: auto, primitive, libero, or a folder.
        out: Folder of the specs and certificates, in place of the one of the shipped specs; a spec that is not there
            is taken from the shipped ones.
    """
    from tqdm import tqdm

    from tgrpo_envs.rewards.shipped import SPECS_FOLDER

    chosen = tqdm(_chosen(suite, task), desc="certify", unit="task", disable=None)
    lines = []
    with output(out if states == "certification" else None, "--out", is_folder=True):
        for one in chosen:
            certificate = _certify_task(one, producer, states, draw, assets, out or SPECS_FOLDER)
            lines.append(_line(one, certificate))
    return "\n".join(lines)


def report(out: Path = Path("certificates.html"), suite: str | None = None, specs: Path | None = None) -> str:
    """Show all certificates: a table of the suites, and a page with every spec's numbers and timeline.

    Args:
        out: The page to write.
        suite: Only this suite.
        specs: Folder of the certificates, in place of the one of the shipped specs.
    """
    from tgrpo_envs.errors import StateError
    from tgrpo_envs.reward_tools.certify.certificate import Certificate
    from tgrpo_envs.reward_tools.certify.report import html_page, text_table
    from tgrpo_envs.rewards.shipped import PRODUCERS, SPECS_FOLDER, certificate_path

    folder = specs or SPECS_FOLDER
    paths = [certificate_path(task, producer, folder) for task in list_tasks(suite) for producer in PRODUCERS]
    certificates = [Certificate.load(path) for path in paths if path.is_file()]
    if not certificates:
        raise StateError(f"{folder} holds no certificates; make them with: python -m tgrpo_envs rewards certify.")
    with output(out, "--out"):
        write_atomically(out, html_page(certificates))
    return f"{text_table(certificates)}\npage: {out}"


def _certify_task(
    task: Task,
    producer: Literal["compiled", "llm"],
    states: Literal["certification", "selection"],
    draw: int | None,
    assets: str,
    folder: Path,
) -> Certificate:
    from tgrpo_envs.reward_tools.certify.certificate import Certificate, make_certificate, unseen_draw
    from tgrpo_envs.reward_tools.certify.record import load_evidence
    from tgrpo_envs.rewards import load_spec
    from tgrpo_envs.rewards.shipped import SPECS_FOLDER, certificate_path, spec_path
    from tgrpo_envs.scene import load_scene

    own = spec_path(task, producer, folder)
    spec = load_spec(own if own.is_file() else spec_path(task, producer))
    papers = [certificate_path(task, producer, each) for each in (folder, SPECS_FOLDER)]
    earlier = next((Certificate.load(path) for path in papers if path.is_file()), None)
    draw = unseen_draw(spec, earlier, draw) if states == "certification" else draw or 0
    certificate = make_certificate(spec, producer, load_evidence(load_scene(task, assets), states, draw=draw))
    if states == "certification":
        certificate.save(papers[0])
    return certificate


def _line(task: Task, certificate: Certificate) -> str:
    evidence = certificate.evidence
    failures = "; ".join(f"{check.id} {check.value:.3g} ({check.note})" for check in certificate.failures)
    states = f"{evidence.purpose} {evidence.draw}"
    line = f"{task.suite} {task.index:>2} {certificate.verdict:<11} {states} {task.name}"
    return f"{line}: {failures}" if failures else line


def _chosen(suite: str | None, task: int | str | None) -> tuple[Task, ...]:
    return list_tasks(suite) if task is None else (get_task(suite or "libero_object", task),)
