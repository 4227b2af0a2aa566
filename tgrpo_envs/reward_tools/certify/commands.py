"""The commands of this room: certify specs, and report on certificates as a table and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from tgrpo_envs.errors import ConfigError
from tgrpo_envs.files import output, write_atomically
from tgrpo_envs.tasks import Task, get_task, list_tasks, recorded_task, task_from_file

if TYPE_CHECKING:
    from tgrpo_envs.reward_tools.certify.certificate import Certificate
    from tgrpo_envs.rewards import StageSpec


def certify(
    suite: str | None = None,
    task: int | str | None = None,
    producer: Literal["compiled", "llm"] = "compiled",
    *,
    files: tyro.conf.Positional[tuple[Path, ...]] = (),
    states: Literal["certification", "selection"] = "certification",
    draw: int | None = None,
    assets: str = "primitive",
    out: Path | None = None,
    bddl: Path | None = None,
) -> str:
    """Check specs against the engine and write a certificate beside each (half a minute for a task's first spec).

    Which specs: the files that are named, each of which says its task; else those of a task, a suite or all tasks.

    To choose among specs or to repair one, look at what fails with --states selection, which writes nothing. Then
    certify: on states that nobody has looked at, for a spec that replaces a certified one gets the next draw.

    Args:
        suite: Only this suite; all 130 tasks where neither it nor a task is given. A task's suite is libero_object
            where it is not given.
        task: Only this task of the suite, by index or name.
        producer: Whose specs: compiled or llm.
        files: Spec files of your own; the certificate of FILE.json is FILE.certificate.json.
        states: certification, or selection, which prints what fails and writes nothing.
        draw: Which draw of initial states; by default that of the task's certificate, or the one after it where that
            certificate is of another spec.
        assets: Asset pack: auto, primitive, libero, or a folder.
        out: Folder of the specs and certificates, in place of the one of the shipped specs; a spec that is not there
            is taken from the shipped ones.
        bddl: A task file of your own, whose compiled spec is checked where no files are named; the certificate is
            written beside it as <task>.compiled.certificate.json.
    """
    from tqdm import tqdm

    from tgrpo_envs.rewards.shipped import SPECS_FOLDER

    if files:
        if suite is not None or task is not None or out is not None:
            raise ConfigError("Files say their own task and place; name either them, or --suite, --task and --out.")
        work = [_file_to_certify(path, bddl) for path in files]
    elif bddl is not None:
        if suite is not None or task is not None or out is not None or producer != "compiled":
            raise ConfigError("--bddl says the task and has a compiled spec only; leave out the others.")
        work = [_own_task_to_certify(bddl)]
    else:
        work = [_spec_to_certify(one, producer, out or SPECS_FOLDER) for one in _chosen(suite, task)]
    progress = tqdm(work, desc="certify", unit="task", disable=None)
    with output(out if states == "certification" else None, "--out", is_folder=True):
        return "\n".join([_line(each.task, _certify(each, states, draw, assets)) for each in progress])


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
    found = {path: Certificate.load(path) for path in paths if path.is_file()}
    if not found:
        raise StateError(f"{folder} holds no certificates; make them with: python -m tgrpo_envs rewards certify.")
    outdated = {path for path, one in found.items() if _is_of_another_spec(path, one)}
    certificates = [one for path, one in found.items() if path not in outdated]
    if not certificates:
        raise StateError(f"All certificates in {folder} are of other specs than those beside them; certify these.")
    with output(out, "--out"):
        write_atomically(out, html_page(certificates))
    notes = [
        f"{path} is of another spec than the one beside it and counts for nothing; certify that." for path in outdated
    ]
    return "\n".join([text_table(certificates), *sorted(notes), f"page: {out}"])


def _is_of_another_spec(path: Path, certificate: Certificate) -> bool:
    from tgrpo_envs.rewards import load_spec, spec_id

    spec = path.with_name(path.name.replace(".certificate.json", ".json"))
    return spec.is_file() and spec_id(load_spec(spec)) != certificate.spec_id


@dataclass(frozen=True)
class _Work:
    """A spec to certify, where its certificate goes, and where one of the task may lie from before."""

    task: Task
    spec: StageSpec
    producer: str
    certificate: Path
    earlier: tuple[Path, ...]


def _own_task_to_certify(bddl: Path) -> _Work:
    from tgrpo_envs.bddl import parse_problem
    from tgrpo_envs.rewards import spec_from_goal

    task = task_from_file(bddl)
    certificate = bddl.with_name(f"{task.name}.compiled.certificate.json")
    return _Work(task, spec_from_goal(parse_problem(task.bddl), task), "compiled", certificate, (certificate,))


def _file_to_certify(path: Path, bddl: Path | None) -> _Work:
    from tgrpo_envs.rewards import load_spec

    spec = load_spec(path)
    producer = next((name for name in ("llm", "compiled") if path.name.endswith(f".{name}.json")), "file")
    certificate = path.with_name(f"{path.name.removesuffix('.json')}.certificate.json")
    return _Work(recorded_task(spec.task.suite, spec.task.name, bddl), spec, producer, certificate, (certificate,))


def _spec_to_certify(task: Task, producer: Literal["compiled", "llm"], folder: Path) -> _Work:
    from tgrpo_envs.rewards import load_spec
    from tgrpo_envs.rewards.shipped import SPECS_FOLDER, certificate_path, spec_path

    own = spec_path(task, producer, folder)
    spec = load_spec(own if own.is_file() else spec_path(task, producer))
    papers = tuple(certificate_path(task, producer, each) for each in (folder, SPECS_FOLDER))
    return _Work(task, spec, producer, papers[0], papers)


def _certify(work: _Work, states: Literal["certification", "selection"], draw: int | None, assets: str) -> Certificate:
    from tgrpo_envs.reward_tools.certify.certificate import Certificate, make_certificate, unseen_draw
    from tgrpo_envs.reward_tools.certify.record import load_evidence
    from tgrpo_envs.scene import load_scene

    earlier = next((Certificate.load(path) for path in work.earlier if path.is_file()), None)
    draw = unseen_draw(work.spec, earlier, draw) if states == "certification" else draw or 0
    evidence = load_evidence(load_scene(work.task, assets), states, draw=draw)
    certificate = make_certificate(work.spec, work.producer, evidence, work.task.bddl_digest)
    if states == "certification":
        certificate.save(work.certificate)
    return certificate


def _line(task: Task, certificate: Certificate) -> str:
    evidence = certificate.evidence
    failures = "; ".join(f"{check.id} {check.value:.3g} ({check.note})" for check in certificate.failures)
    states = f"{evidence.purpose} {evidence.draw}"
    line = f"{task.suite} {task.index:>2} {certificate.verdict:<11} {states} {task.name}"
    return f"{line}: {failures}" if failures else line


def _chosen(suite: str | None, task: int | str | None) -> tuple[Task, ...]:
    return list_tasks(suite) if task is None else (get_task(suite or "libero_object", task),)
