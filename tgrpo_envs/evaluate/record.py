"""What an evaluation leaves in its folder: settings, each episode as soon as it is over, and the whole at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from tgrpo_envs.base_settings import Frozen
from tgrpo_envs.errors import ConfigError, StateError
from tgrpo_envs.files import write_atomically, writing
from tgrpo_envs.intervals import counted, wilson_interval
from tgrpo_envs.perturbation import Kind, Perturbation
from tgrpo_envs.tasks import CUSTOM, HORIZONS

SETTINGS_NAME = "settings.json"
EPISODES_NAME = "episodes.jsonl"
RECORD_NAME = "evaluation.json"
BENCHMARK_PACK = "libero"
BENCHMARK_PX = 256
"""Side of the pictures that OpenVLA's script draws."""

End = Literal["success", "horizon", "diverged"]
"""How an episode ended. diverged: the physics became unstable; counted as no success."""


class EpisodeRecord(Frozen):
    """One finished episode."""

    suite: str
    task: int
    states: str
    """heldout or official."""
    state: int
    """Row of the set."""
    success: bool
    end: End
    control_steps: int
    progress: float
    """Through the stages of the reward, 0 to 1, at the end."""
    stages_done: tuple[str, ...]
    """Stages that were done at some time."""
    perturb: Perturbation | None = None
    """What was changed of the task."""

    @property
    def kind(self) -> Kind | None:
        """Kind of the perturbation."""
        return self.perturb.kind if self.perturb else None

    @property
    def key(self) -> tuple[int, str, int, Kind | None]:
        """Which episode it is: task, set, row, kind of the perturbation."""
        return self.task, self.states, self.state, self.kind


class Settings(Frozen):
    """What decides the result of an evaluation."""

    policy: str
    suite: str
    tasks: tuple[int, ...]
    states: tuple[str, ...]
    num_states: int
    """Of each set; the first rows are played."""
    assets: str
    """Asset pack by its own name, never auto."""
    detail: str
    image_size: int
    replan_steps: int
    horizon: int
    versions: dict[str, str]
    assets_digest: str = ""
    """Of the pack's files; evaluations of versions before 0.7.0 have none."""
    bddl: str = ""
    """Name and digest of a task file of the user's own."""
    perturb: tuple[Kind, ...] = ()
    """Kinds of perturbation that everything is played under too, each alone."""
    perturb_level: int = 2
    perturb_seed: int = 0
    perturb_variants: int = 5
    """Changes of each kind and task; the states take turns."""
    unnorm_key: str | None = None
    """Statistics that an OpenVLA or OFT server was to use; evaluations of versions up to 0.12.0 do not say them."""

    @property
    def kinds(self) -> tuple[Kind | None, ...]:
        """None, for the task as it is, and the kinds of perturbation."""
        return (None, *self.perturb)

    def perturbation(self, kind: Kind | None, state: int) -> Perturbation | None:
        """What an episode from the state of this row is played under."""
        seed = self.perturb_seed + state % self.perturb_variants
        return None if kind is None else Perturbation(kind, self.perturb_level, seed)

    def poses(self, episode: EpisodeRecord) -> bool:
        """Whether this evaluation has such an episode."""
        return (
            (episode.suite, episode.perturb) == (self.suite, self.perturbation(episode.kind, episode.state))
            and episode.task in self.tasks
            and episode.states in self.states
            and episode.state in range(self.num_states)
            and episode.kind in self.kinds
        )


class Count(Frozen):
    """Successes of episodes."""

    task: int | None
    """None: of all tasks, every episode weighs the same."""
    states: str
    perturb: Kind | None = None
    """Kind of perturbation; None: of the task as it is."""
    num_successes: int
    num_episodes: int
    interval: tuple[float, float]
    """Wilson's 95 % interval."""

    def __str__(self) -> str:
        return counted(self.num_successes, self.num_episodes)


class EvaluationRecord(Frozen):
    """All that an evaluation found."""

    settings: Settings
    note: str
    """What the numbers may be compared with."""
    counts: tuple[Count, ...]
    pooled: tuple[Count, ...]
    episodes: tuple[EpisodeRecord, ...]


class EvaluationFolder:
    """The folder of an evaluation; a crash leaves every episode that was over.

    Args:
        path: The folder.
        settings: Of this evaluation.
        resume: Whether to go on with what is there.

    Attributes:
        episodes: Those that are finished.

    Raises:
        ConfigError: It holds an evaluation that is not to be, or cannot be, gone on with.
        StateError: Its episodes cannot be read, or are not this evaluation's.
        OutputError: It cannot be written.
    """

    def __init__(self, path: Path, settings: Settings, *, resume: bool) -> None:
        self.path, self.settings = path, settings
        self.episodes: list[EpisodeRecord] = []
        if (path / SETTINGS_NAME).exists():
            self._go_on(resume=resume)
        elif (path / EPISODES_NAME).exists():
            raise ConfigError(f"{path} holds episodes without the {SETTINGS_NAME} they belong to; give another --out.")
        elif (path / RECORD_NAME).exists():
            raise ConfigError(
                f"{path} holds the {RECORD_NAME} of another evaluation, which would be replaced; give another --out."
            )
        else:
            write_atomically(path / SETTINGS_NAME, settings.model_dump_json(indent=2) + "\n")

    def add(self, episode: EpisodeRecord) -> None:
        """Keep an episode: it is on the disk when this returns."""
        file = self.path / EPISODES_NAME
        with writing(file), file.open("a", encoding="utf-8") as lines:
            lines.write(episode.model_dump_json() + "\n")
            lines.flush()
            os.fsync(lines.fileno())
        self.episodes.append(episode)

    def leave_if_empty(self) -> None:
        """Take the settings away where no episode was finished: the next call may begin with others."""
        episodes = self.path / EPISODES_NAME
        if not episodes.exists() or not episodes.stat().st_size:  # of another process neither
            for file in (episodes, self.path / SETTINGS_NAME):
                with writing(file):
                    file.unlink(missing_ok=True)

    def finish(self) -> EvaluationRecord:
        """Count, and write evaluation.json."""
        record = summary(self.settings, self.episodes)
        write_atomically(self.path / RECORD_NAME, record.model_dump_json(indent=2) + "\n")
        return record

    def _go_on(self, *, resume: bool) -> None:
        if not resume:
            raise ConfigError(f"{self.path} holds an evaluation; go on with it by --resume, or give another --out.")
        try:
            before = Settings.model_validate_json((self.path / SETTINGS_NAME).read_bytes())
        except (OSError, ValidationError) as error:
            raise ConfigError(f"{self.path / SETTINGS_NAME} is damaged; give another --out.") from error
        for name in Settings.model_fields:
            was, now = getattr(before, name), getattr(self.settings, name)
            if was != now:
                raise ConfigError(
                    f"{self.path} was begun with {name} {was} and cannot go on with {now}; give that again, or "
                    "another --out."
                )
        file = self.path / EPISODES_NAME
        self.episodes = _read_episodes(file)
        for episode in self.episodes:
            if not self.settings.poses(episode):
                raise StateError(f"{file} has a line of another evaluation, {episode.key}; remove it.")


def summary(settings: Settings, episodes: Sequence[EpisodeRecord]) -> EvaluationRecord:
    """Counts of finished episodes: for each task, set and perturbation, and pooled over the tasks."""
    pools = [(states, kind) for kind in settings.kinds for states in settings.states]
    groups = [(task, *pool) for task in settings.tasks for pool in pools]
    order = {group: place for place, group in enumerate(groups)}
    ordered = sorted(episodes, key=lambda one: (order[one.task, one.states, one.kind], one.state))
    return EvaluationRecord(
        settings=settings,
        note=comparability(settings),
        counts=_counts(groups, ordered),
        pooled=_counts([(None, *pool) for pool in pools], ordered),
        episodes=tuple(ordered),
    )


def comparability(settings: Settings) -> str:
    """What a reader must know before setting the numbers beside published ones."""
    notes = []
    if settings.assets != BENCHMARK_PACK:
        notes.append(f"Asset pack {settings.assets}: these results are NOT comparable with the benchmark's.")
    else:
        if settings.detail != "exact":
            notes.append("Pictures at detail fast are near LIBERO's, not equal; --detail exact draws LIBERO's own.")
        if settings.image_size != BENCHMARK_PX:
            notes.append(f"Pictures had {settings.image_size} pixels a side; OpenVLA's script draws {BENCHMARK_PX}.")
    usual = HORIZONS[settings.suite]
    if settings.horizon != usual:
        notes.append(f"Episodes were cut after {settings.horizon} control steps; {settings.suite} has {usual}.")
    if not notes and settings.suite == CUSTOM:
        notes.append("A task of your own: nothing published is comparable.")
    elif not notes:
        notes.append("Official states can be compared with published results; held-out states are ours.")
    if settings.perturb:
        notes.append("What was played under a perturbation is NOT comparable with the benchmark's.")
    return " ".join(notes)


def _counts(
    groups: Sequence[tuple[int | None, str, Kind | None]], episodes: Sequence[EpisodeRecord]
) -> tuple[Count, ...]:
    counts = []
    for task, states, kind in groups:
        pool = (one for one in episodes if (one.states, one.kind) == (states, kind))
        ends = [one.success for one in pool if task in (None, one.task)]
        if ends:
            counts.append(
                Count(
                    task=task,
                    states=states,
                    perturb=kind,
                    num_successes=sum(ends),
                    num_episodes=len(ends),
                    interval=wilson_interval(sum(ends), len(ends)),
                )
            )
    return tuple(counts)


def _read_episodes(path: Path) -> list[EpisodeRecord]:
    """The finished episodes. A last line without its end was being written at a crash, and its episode is played again.

    Of an episode that two processes played at the same time, the first line counts.

    Raises:
        StateError: Another line is damaged, or the file cannot be read.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise StateError(f"{path} cannot be read ({error.strerror}); give another --out.") from error
    whole, _, torn = content.rpartition(b"\n")
    if torn:
        write_atomically(path, whole + b"\n" if whole else b"")
    try:
        episodes = [EpisodeRecord.model_validate_json(line) for line in whole.splitlines()]
    except ValidationError as error:
        raise StateError(f"{path} has a damaged line; remove it, and its episode is played again.") from error
    first: dict[object, EpisodeRecord] = {}
    for episode in episodes:
        first.setdefault(episode.key, episode)
    return list(first.values())
