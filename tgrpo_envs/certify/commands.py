"""The commands of this room: certify specs, and report on certificates as a table and a page."""

from __future__ import annotations

from pathlib import Path

from tgrpo_envs.tasks import Task, get_task, list_tasks


def certify(
    suite: str | None = None,
    task: int | str | None = None,
    producer: str = "compiled",
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

    lines = []
    for one in tqdm(_chosen(suite, task), desc="certify", unit="task", disable=None):
        lines.append(_certify_task(one, producer, assets, out))
    return "\n".join(lines)


def _certify_task(task: Task, producer: str, assets: str, out: Path | None) -> str:
    from tgrpo_envs.certify.certificate import SUFFIX, make_certificate
    from tgrpo_envs.certify.record import load_evidence
    from tgrpo_envs.rewards import compile_spec
    from tgrpo_envs.scene import load_scene

    scene = load_scene(task, assets)
    spec = compile_spec(scene.problem, task)
    certificate = make_certificate(spec, producer, load_evidence(scene))
    folder = (out or Path()) / task.suite
    certificate.save(folder / f"{task.name}.{producer}{SUFFIX}")
    failures = "; ".join(f"{check.id} {check.value:.3g} ({check.note})" for check in certificate.failures)
    return f"{task.suite} {task.index:>2} {certificate.verdict:<11} {task.name}" + (f": {failures}" if failures else "")


def _chosen(suite: str | None, task: int | str | None) -> tuple[Task, ...]:
    return list_tasks(suite) if task is None else (get_task(suite or "libero_object", task),)
