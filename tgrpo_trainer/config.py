"""The settings of a training run: frozen and validated, with TRL's names where TRL has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from tgrpo_envs.base_settings import Settings
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.files import read_json, write_atomically
from tgrpo_envs.shared_settings import REWARDS, SharedSettings
from tgrpo_envs.tasks import CUSTOM, Task, choose_task, list_tasks
from tgrpo_trainer.objectives import Objective, Tgrpo, make_objective
from tgrpo_trainer.policy.settings import MIN_TEMPERATURE, PolicyConfig

Rows = Literal["before", "after"]
Pictures = Literal["opengl", "upright", "turned", "mirrored"]


class EnvConfig(SharedSettings):
    """The tasks and how the policy sees them."""

    tasks: tuple[int | str, ...] = Field(default=(0,), min_length=1)
    """Tasks of the suite that one policy learns, by index or name (list them: python -m tgrpo_envs tasks), or all."""
    detail: Literal["fast", "exact"] = "fast"
    """How pictures are drawn: fast = simplified meshes, one sample a pixel; exact = LIBERO's pixels."""
    max_open_tasks: int = Field(default=32, ge=1)
    """Tasks whose scenes stay open at once, beside those being played (docs/suites.md has the memory of one)."""

    @model_validator(mode="before")
    @classmethod
    def _names_of_earlier_versions(cls, values: Any) -> Any:
        """Settings that versions before 0.3 wrote name one task, as `task`; before 0.5, `horizon` had another name."""
        if not isinstance(values, dict):
            return values
        if "task" in values:
            values = {name: value for name, value in values.items() if name != "task"} | {"tasks": (values["task"],)}
        return {"horizon" if name == "max_control_steps" else name: value for name, value in values.items()}

    @model_validator(mode="before")
    @classmethod
    def _a_file_instead_of_a_suite(cls, values: Any) -> Any:
        """Whatever a recipe says of suite and tasks. A run is resumed from any folder, so the path is whole."""
        if isinstance(values, dict) and isinstance(bddl := values.get("bddl"), str | Path):
            whole = type(bddl)(Path(bddl).resolve())  # a string stays one, as JSON has it
            values = values | {"bddl": whole, "suite": CUSTOM, "tasks": (0,)}
        return values

    @field_validator("reward")
    @classmethod
    def _whole_path(cls, value: str) -> str:
        """A run is resumed from any folder, so the path of a reward is whole too."""
        return str(Path(value).resolve()) if value not in REWARDS and Path(value).is_file() else value

    @field_validator("tasks", mode="before")
    @classmethod
    def _numbers_or_names(cls, values: Any) -> Any:
        values = (values,) if isinstance(values, int | str) else values
        if isinstance(values, list | tuple) and any(isinstance(value, bool) for value in values):
            raise ValueError(f"tasks={values} must not be a truth value, but indices or names of tasks.")
        return values

    @property
    def task(self) -> int | str:
        """The only task of these settings.

        Raises:
            ConfigError: They name several.
        """
        if len(self.tasks) > 1 or "all" in self.tasks:
            raise ConfigError(f"{self.suite} tasks {self.tasks_label} are several; ask each of `of_each_task()` alone.")
        return self.tasks[0]

    @property
    def resolved_task(self) -> Task:
        """The only task, with its instruction and horizon.

        Raises:
            ConfigError: They name several; or a file that cannot be read is a `BddlError`.
        """
        return choose_task(self.suite, self.task, self.bddl)

    @property
    def tasks_label(self) -> str:
        """The tasks in words, for headings: `all`, `4`, or `0, 3`."""
        return ", ".join(map(str, self.tasks))

    def of_each_task(self) -> tuple[EnvConfig, ...]:
        """The same settings for each task alone, each once, in the order given.

        Raises:
            UnknownNameError: The suite has no such task.
            ConfigError: Several tasks, and a reward that is a file: its stages are of one task.
        """
        chosen = [task.index for task in list_tasks(self.suite)] if "all" in self.tasks else self.tasks
        by_index = {choose_task(self.suite, task, self.bddl).index: task for task in reversed(chosen)}
        tasks = [task for index, task in reversed(by_index.items())]
        if len(tasks) > 1 and self.reward_is_file:
            raise ConfigError(f"env.reward {self.reward} holds the stages of one task; use stages for {len(tasks)}.")
        return tuple(self.model_copy(update={"tasks": (task,)}) for task in tasks)

    @property
    def env_id(self) -> str:
        """The Gymnasium id of the suite, for example `tgrpo_envs:TGRPO-LiberoObject-v0`."""
        camel = "".join(word.capitalize() for word in self.suite.split("_"))
        return f"tgrpo_envs:TGRPO-{camel}-v0"


class SftConfig(Settings):
    """Behaviour cloning: the start of reinforcement learning."""

    demonstrations: tuple[Path, ...] = ()
    """Files of demonstrations in LIBERO's HDF5 format (docs/demonstrations.md), with several tasks one for each, in
    their order; left out = the run records its own with the scripted expert."""
    demo_rows: Rows | None = None
    """Whether a row of your demonstrations was seen before its action (as OpenVLA regenerates LIBERO's files) or after
    it (as LIBERO publishes them); None = found out from the file."""
    demo_pictures: Pictures | None = None
    """How pictures of your demonstrations are stored: opengl = upside down, as LIBERO's; turned = opengl turned by 180
    degrees; mirrored = opengl with left and right exchanged; None = found out from the file."""
    num_demos: int = Field(default=10, ge=1)
    """Demonstrations to record of each task."""
    max_steps: int = Field(default=600, ge=0)
    """Gradient steps; 0 = start from the policy as it is."""
    batch_size: int = Field(default=64, ge=1)
    """Decisions per gradient step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of AdamW (cosine decay)."""

    @field_validator("demonstrations", mode="before")
    @classmethod
    def _one_file_of_earlier_versions(cls, value: object) -> object:
        """Settings that versions before 0.3 wrote name one file, or null."""
        return () if value is None else (value,) if isinstance(value, str | Path) else value


class RolloutConfig(Settings):
    """How trajectories are collected."""

    num_groups: int = Field(default=4, ge=1)
    """Start states per iteration (B); with several tasks, each draw takes the next task of a shuffled round."""
    num_generations: int = Field(default=8, ge=2)
    """Trajectories per start state (the group size G)."""
    temperature: float = Field(default=1.0, ge=MIN_TEMPERATURE)
    """Temperature of the action distribution during rollouts."""
    end: Literal["each", "any_success"] = "each"
    """each = every member finishes; any_success = a group is cut when one of its members succeeds (the paper)."""
    filter: str = "spread"
    """Groups to learn from: spread = those whose advantages are not all 0; LOW..HIGH, such as 0.1..0.9 = of these,
    those with such a share of successes; all = every group (without spread only the KL term sees it)."""
    min_groups: int = Field(default=1, ge=1)
    """Play another round of start states while fewer groups than this are kept (dynamic sampling)."""
    max_rounds: int = Field(default=1, ge=1)
    """Rounds of rollouts in an iteration at most."""

    overlap: bool = False
    """Play two halves of the groups at the same time: one decides while the other's environments step. It pays where a
    decision on the GPU takes about as long as a step."""

    @property
    def num_envs(self) -> int:
        """Environments in lock-step: groups times members."""
        return self.num_groups * self.num_generations

    @property
    def success_range(self) -> tuple[float, float] | None:
        """Least and largest share of successes of a group to learn from; None = learn from every group."""
        if self.filter == "all":
            return None
        if self.filter == "spread":
            return 0.0, 1.0
        low, _, high = self.filter.partition("..")
        return float(low), float(high)

    @model_validator(mode="after")
    def _groups_can_be_kept(self) -> RolloutConfig:
        try:
            low, high = self.success_range or (0.0, 1.0)
        except ValueError:
            low, high = 1.0, 0.0
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(
                f"filter is {self.filter!r}; use spread, all, or a range of success shares within 0..1 such as 0.1..0.9"
            )
        if self.min_groups > self.num_groups * self.max_rounds:
            raise ValueError(
                f"min_groups is {self.min_groups}, more than the {self.num_groups} groups of {self.max_rounds} rounds; "
                "raise max_rounds"
            )
        return self


class UpdateConfig(Settings):
    """The optimiser of reinforcement learning (Adam)."""

    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak learning rate."""
    final_learning_rate_ratio: float = Field(default=0.3, ge=0, le=1)
    """Learning rate of the last iteration, as a share of the peak (linear decay)."""
    warmup_iterations: int = Field(default=3, ge=0)
    """Iterations over which the learning rate rises linearly to its peak."""
    num_iterations: int = Field(default=4, ge=1)
    """Passes over each rollout batch (TRL's name; epochs elsewhere)."""
    target_kl: float | None = Field(default=None, gt=0)
    """Trust region: no further pass over a batch once approx_kl, averaged over a pass, is above this (nats a token, or
    an action with objective.ratio action); None = all passes."""
    gradient_budget: float = Field(default=1.0, gt=0, le=1)
    """Share of the decisions to learn from, drawn evenly over the stages of the task (docs/algorithm.md); 1 = all."""
    minibatch_size: int = Field(default=256, ge=1)
    """Decisions per gradient step."""
    microbatch_size: int | None = Field(default=None, ge=1)
    """Decisions in memory at once (gradient accumulation); changes memory, not the result. None = whole minibatches."""
    gradient_cosine: bool = False
    """Measure how far the gradients of an iteration's first two minibatches agree; takes memory for two gradients."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm."""
    optimizer: Literal["adamw", "adamw_master", "adamw_stochastic"] = "adamw"
    """adamw = in the weights' type; adamw_master = float32 master weights, for bfloat16 (16 bytes a parameter);
    adamw_stochastic = bfloat16 throughout with stochastic rounding (8 bytes a parameter). A run that has learnt keeps
    its own."""


class EvaluationConfig(Settings):
    """Success on states that training never draws, and on LIBERO's own."""

    every: int = Field(default=10, ge=1)
    """Iterations between evaluations (the first and the last policy are always evaluated)."""
    num_heldout: int = Field(default=64, ge=1, le=200)
    """Held-out region states of each task; there are 200."""
    num_official: int = Field(default=50, ge=0, le=50)
    """LIBERO's official initial states of each task; 0 = none."""
    temperature: float = Field(default=1.0, ge=MIN_TEMPERATURE)
    """Temperature of the sampled evaluation (greedy is always run beside it)."""


class RunConfig(Settings):
    """Where the run lives and when it stops."""

    name: str = "run"
    """Name of the run; its folder is <folder>/<name>."""
    folder: Path = Path("runs")
    """Folder of all runs."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random."""
    iterations: int = Field(default=40, ge=0)
    """Reinforcement-learning iterations."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Wall-clock budget of the whole run: training stops early enough for the last evaluation; None = no limit."""
    device: str = "auto"
    """Torch device of the policy: auto, cpu, cuda, cuda:0 ... With several ranks each takes its own GPU."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Latest checkpoints kept of each kind (to go on from, and evaluated), beside the best and the first."""
    rank_timeout_minutes: float = Field(default=30.0, gt=0)
    """With several ranks: how long one waits for the others before it gives up with an error."""
    wandb_project: str | None = None
    """Log to this Weights & Biases project too (pip install 'tgrpo[wandb]'); None = off."""

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder / self.name


class TrainConfig(Settings):
    """One whole run."""

    env: EnvConfig = EnvConfig()
    policy: PolicyConfig = PolicyConfig()
    sft: SftConfig = SftConfig()
    rollout: RolloutConfig = RolloutConfig()
    objective: SerializeAsAny[Objective] = Tgrpo()
    """What is optimised; a class of its own for each kind."""
    update: UpdateConfig = UpdateConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig = RunConfig()

    @field_validator("objective", mode="before")
    @classmethod
    def _of_its_kind(cls, value: object) -> object:
        return make_objective(value) if isinstance(value, dict) else value

    def replace(self, **groups: object) -> TrainConfig:
        """A validated copy with whole groups of settings replaced."""
        return TrainConfig(**{**self.model_dump(), **groups})

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_atomically(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read what `save` wrote.

        Raises:
            ConfigError: The file is missing, or does not hold this version's settings.
        """
        if not path.is_file():
            raise ConfigError(
                f"{path} does not exist, so this is not the folder of a run; give one such as runs/quickstart."
            )
        try:
            values = dict(read_json(path))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path} does not hold the settings of a run: it is no JSON object ({error}).") from error
        if "tgrpo" in values:
            raise ConfigError(
                f"{path} is of a run of version 0.2 or older; resume, evaluate or report it with that version, "
                "or start a new run: its --tgrpo options are --objective options now."
            )
        try:
            return cls(**values)
        except (ConfigError, UnknownNameError) as error:
            raise ConfigError(f"{path} does not hold the settings of a run of this version: {error}") from error
