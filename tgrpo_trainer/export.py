"""The export command: a policy in its published format, and on the hub, with a page that says what it is."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import tyro

from tgrpo_envs import text_table
from tgrpo_envs.errors import ConfigError
from tgrpo_envs.files import naming
from tgrpo_trainer.config import TrainConfig
from tgrpo_trainer.evaluation.result import Pooled, load_evaluations, pool
from tgrpo_trainer.evaluation.source import find_source
from tgrpo_trainer.run.export import checkpoint_of, export_policy
from tgrpo_trainer.run.layout import CONFIG_NAME, EVALUATIONS_NAME
from tgrpo_trainer.run.push import make_repository, push_policy


@dataclass(frozen=True)
class ExportOptions:
    """Write a checkpoint's policy as a full one in its published format, LoRA adapters merged into their base."""

    checkpoint: tyro.conf.Positional[str]
    """A checkpoint (runs/NAME/checkpoints/iteration_000040), or a run's folder for its last one; or LoRA adapters, a
    run's or of another program (peft's files), a folder or owner/name[/folder][@revision] on the hub."""
    out: tyro.conf.Positional[Path]
    """Folder to write; it must not exist."""
    base: str | None = None
    """Of a .pt file of weights (RLinf's full_weights.pt): the checkpoint it was trained from, by folder or name."""
    push: str | None = None
    """Upload it to this repository of the hub, owner/name, too; a new one is private (`hf auth login` first)."""
    public: bool = False
    """A new repository is public."""


def export(options: ExportOptions) -> str:
    """Do what the options say.

    Returns:
        Where the policy is, in words.

    Raises:
        ConfigError: `public` without `push`; see `find_source` and `export_policy`.
        CheckpointError: See `export_policy`.
        OutputError: The folder cannot be written, or the hub refuses.
        MissingExtraError: huggingface_hub is not installed.
    """
    if options.public and options.push is None:
        raise ConfigError(
            "--public says who sees what is uploaded; say where to with --push OWNER/NAME, or leave it out."
        )
    given = Path(options.checkpoint)
    checkpoint = given if given.is_file() else find_source(given).folder
    if options.push is not None:
        make_repository(options.push, public=options.public)
    with naming(options.out, "the second argument"):
        export_policy(checkpoint, options.out, options.base)
    if options.push is None:
        return f"Policy: {options.out}"
    address = push_policy(options.out, options.push, model_card(checkpoint, options.push))
    return f"Policy: {options.out}\nUploaded: {address}"


def model_card(checkpoint: Path, repository: str) -> str:
    """A page for the hub: what the policy learned, how often it succeeds, how to use it; no licence is claimed.

    Args:
        checkpoint: Of a run; or adapters or weights of another program, of which nothing is known.
        repository: Where it will be.
    """
    lines = ["---", "tags: [tgrpo, robotics, libero, reinforcement-learning]", "---", "", f"# {repository}", ""]
    tasks = "--suite SUITE --tasks TASKS"  # for the reader to fill in
    if (whole := checkpoint_of(checkpoint)) is not None:
        run = whole.parent.parent
        config = TrainConfig.load(run / CONFIG_NAME)
        lines += _training(config)
        evaluation = run / EVALUATIONS_NAME / f"{whole.name}.json"
        if evaluation.is_file():
            lines += _success(pool(load_evaluations(evaluation)))
        if config.env.bddl is None:
            tasks = shlex.join(["--suite", config.env.suite, "--tasks", *map(str, config.env.tasks)])
    lines += ["```bash", f"python -m tgrpo_trainer eval {repository} {tasks}", "```", ""]
    return "\n".join(lines)


def _training(config: TrainConfig) -> list[str]:
    env = config.env
    what = env.bddl.name if env.bddl is not None else f"{env.suite}, task {env.tasks_label}"
    start = "" if config.policy.checkpoint is None else f", from {config.policy.checkpoint}"
    return [
        f"A policy of kind `{config.policy.kind}`{start}, trained by tgrpo on {what} with the objective "
        f"`{config.objective.kind}` (seed {config.run.seed}; asset pack `{env.assets}`).",
        "",
    ]


def _success(counts: tuple[Pooled, ...]) -> list[str]:
    rows = [(count.states, count.mode, str(count)) for count in counts]
    table = text_table.markdown([("initial states", "actions", "success, Wilson's 95 % interval"), *rows])
    return [f"After {counts[0].iteration} iterations:", "", table, ""]
