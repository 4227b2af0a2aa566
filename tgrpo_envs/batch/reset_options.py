"""Reset options, validated, and the initial states they ask for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.arrays import as_flags, as_integers, as_numbers, shown, whole_number
from tgrpo_envs.batch.task_batch import TaskBatch, merge_states
from tgrpo_envs.errors import ConfigError, StateError, UnknownNameError
from tgrpo_envs.scene import InitStates, draw_fixtures, given_states
from tgrpo_envs.sim.snapshot import BoolArray, FloatArray

OPTION_NAMES = ("init_states", "init_state_ids", "group_size", "reset_mask")
MISSPELT = 0.75  # names as similar as this (difflib's ratio) to one of ours are taken for it

IdArray = NDArray[np.int64]


@dataclass(frozen=True)
class ResetOptions:
    """The parsed ``options`` of `reset`.

    Attributes:
        name: Set to use in place of the environment's own, or None.
        ids_N: Row of that set for each environment, or None to draw.
        given_N: States of the caller's own, one row for each environment: (N, X) or with poses of fixtures; or None.
        group_size: Consecutive environments that share one state.
        mask_N: Which environments to reset.
    """

    name: str | None
    ids_N: IdArray | None
    given_N: InitStates | FloatArray | None
    group_size: int
    mask_N: BoolArray

    def rows(self, rows: slice) -> ResetOptions:
        """The options of some of the environments."""
        ids_N = None if self.ids_N is None else self.ids_N[rows]
        given_N = None if self.given_N is None else _take(self.given_N, np.arange(len(self.mask_N))[rows])
        return ResetOptions(self.name, ids_N, given_N, self.group_size, self.mask_N[rows])


def parse_reset_options(options: dict[str, Any] | None, num_envs: int) -> ResetOptions:
    """Check the options of `reset`.

    Libraries pass options of their own through `reset` (LeRobot's ``lerobot_new_rollout``). Gymnasium leaves their
    meaning to each environment, so what looks like none of ours is ignored with a warning.

    Raises:
        UnknownNameError: A misspelt option.
        ConfigError: A value of the wrong shape or kind.
        StateError: A row outside the given states.
    """
    if not isinstance(options, Mapping | None):
        raise ConfigError(f"options={shown(options)} must be a dictionary of {', '.join(OPTION_NAMES)}.")
    options = dict(options or {})
    for name in options:
        if name not in OPTION_NAMES:
            _pass_over(name)
    group_size = whole_number("group_size", options.get("group_size", 1), 1)
    if num_envs % group_size:
        raise ConfigError(f"group_size={group_size} must divide the number of environments, {num_envs}.")
    ids_N = None
    if options.get("init_state_ids") is not None:
        ids_N = as_integers(options["init_state_ids"], "init_state_ids")
        if ids_N.shape != (num_envs,):
            raise ConfigError(f"init_state_ids must be {num_envs} whole numbers, got the shape {ids_N.shape}.")
    mask_N = as_flags(options.get("reset_mask", np.ones(num_envs, dtype=bool)), "reset_mask")
    if mask_N.shape != (num_envs,) or not mask_N.any():
        raise ConfigError(f"reset_mask must be {num_envs} booleans with at least one true.")
    states = options.get("init_states")
    if states is None or isinstance(states, str):
        parsed = ResetOptions(states, ids_N, None, group_size, mask_N)
    else:
        parsed = ResetOptions(None, None, _parse_given(states, ids_N, num_envs), group_size, mask_N)
    if group_size > 1:
        _check_groups(parsed)
    return parsed


def parse_seeds(seed: object, num_envs: int) -> list[int | None]:
    """A seed for each environment: counted up from one number, or from a list that may hold None.

    Raises:
        ConfigError: Seeds that are no whole numbers, or of another count.
    """
    many = np.ndim(seed) > 0 if hasattr(seed, "__array__") else isinstance(seed, Iterable) and not isinstance(seed, str)
    if not many:
        first = whole_number("seed", seed, 0)
        return [first + row for row in range(num_envs)]
    seeds = [None if one is None else whole_number("seed", one, 0) for one in seed]  # type: ignore[attr-defined]
    if len(seeds) != num_envs:
        raise ConfigError(f"seed must be one number or {num_envs} of them, got {len(seeds)}.")
    return seeds


def initial_states(
    episodes: TaskBatch, options: ResetOptions, generators_N: Sequence[np.random.Generator]
) -> InitStates:
    """N initial states as the options ask; the first member of a group draws for all of it.

    Raises:
        ConfigError: Explicit rows of a set that has none (``train`` is drawn).
        StateError: A row outside its set, or given states that do not fit the scene.
    """
    if options.given_N is not None:
        states = given_states(episodes.scene, options.given_N)
        if episodes.settings.fixture_poses == "per_episode":
            states = _with_drawn_fixtures(episodes, states, options, generators_N)
        return states
    name = options.name or episodes.settings.init_states
    if options.ids_N is None:
        states = _drawn(episodes, name, options, generators_N)
    elif name == "train":
        raise ConfigError('init_state_ids need init_states="heldout" or "official"; "train" states are drawn.')
    else:
        states = episodes.states_by_id(name, options.ids_N)
    if episodes.settings.fixture_poses == "per_episode" and name != "train":  # whose fixtures are drawn with the rest
        states = _with_drawn_fixtures(episodes, states, options, generators_N)
    return _perturbed(episodes, states, options.mask_N)


def _perturbed(episodes: TaskBatch, states: InitStates, mask_N: BoolArray) -> InitStates:
    """The masked rows as the setting's perturbation has them; the others may hold anything."""
    if episodes.settings.perturbation is None:
        return states
    rows = np.flatnonzero(mask_N)
    places_N = np.zeros(len(mask_N), dtype=np.int64)
    places_N[rows] = np.arange(len(rows))
    return episodes.setting.perturb(states.take(rows)).take(places_N)


def _drawn(
    episodes: TaskBatch, name: str, options: ResetOptions, generators_N: Sequence[np.random.Generator]
) -> InitStates:
    drawn = {leader: episodes.draw_state(name, generators_N[leader]) for leader in _leaders(options)}
    ignored = next(iter(drawn.values()))  # fills the rows that nobody resets
    leader_N = np.arange(len(generators_N)) // options.group_size * options.group_size
    return merge_states([drawn.get(leader, ignored) for leader in leader_N.tolist()])


def _with_drawn_fixtures(
    episodes: TaskBatch, states: InitStates, options: ResetOptions, generators_N: Sequence[np.random.Generator]
) -> InitStates:
    fixtures_NF7 = states.fixtures_NF7.copy()
    for leader in _leaders(options):
        fixtures_NF7[leader : leader + options.group_size] = draw_fixtures(
            episodes.setting.unperturbed, generators_N[leader]
        )
    return replace(states, fixtures_NF7=fixtures_NF7)


def _check_groups(options: ResetOptions) -> None:
    """Members of a group that are reset together have one state, also where the caller names or brings the states."""
    if options.ids_N is not None:
        rows_NX: NDArray[Any] = options.ids_N[:, None]
    elif isinstance(options.given_N, InitStates):
        flat_N = options.given_N.fixtures_NF7.reshape(len(options.mask_N), -1)
        rows_NX = np.hstack([options.given_N.states_NX, flat_N])
    elif options.given_N is not None:
        rows_NX = options.given_N
    else:
        return
    for leader in _leaders(options):
        group = slice(leader, leader + options.group_size)
        rows_MX = rows_NX[group][options.mask_N[group]]
        if not np.array_equal(rows_MX, np.broadcast_to(rows_MX[0], rows_MX.shape), equal_nan=True):
            raise ConfigError(
                f"With group_size={options.group_size}, members {leader} to {group.stop - 1} share one initial state, "
                "but init_states or init_state_ids give them several; repeat one for all of a group."
            )


def _leaders(options: ResetOptions) -> list[int]:
    """First member of every group of which some member is reset."""
    groups_BG = options.mask_N.reshape(-1, options.group_size)
    leaders: list[int] = (np.flatnonzero(groups_BG.any(axis=1)) * options.group_size).tolist()
    return leaders


def _parse_given(states: object, ids: IdArray | None, num_envs: int) -> InitStates | FloatArray:
    """One given state for each environment: those of the ids, or all of them in order, or the only one for all."""
    given = _given_states(states) if isinstance(states, InitStates) else _state_array(states)
    if ids is None:
        if len(given) not in (1, num_envs):
            raise ConfigError(f"Got {len(given)} init_states for {num_envs} environments; give 1, {num_envs}, or ids.")
        ids = np.arange(num_envs) % len(given)
    bad = ids[(ids < 0) | (ids >= len(given))]
    if bad.size:
        raise StateError(f"Initial state {int(bad[0])} does not exist; {len(given)} were given, counted from 0.")
    return _take(given, ids)


def _given_states(states: InitStates) -> InitStates:
    states_NX = as_numbers(states.states_NX, "states_NX of InitStates", StateError)
    fixtures_NF7 = as_numbers(states.fixtures_NF7, "fixtures_NF7 of InitStates", StateError)
    if (states_NX.ndim, fixtures_NF7.ndim) != (2, 3) or len(states_NX) != len(fixtures_NF7):
        raise StateError(
            f"InitStates have shapes (N, X) and (N, F, 7), with one N; got {states_NX.shape} and {fixtures_NF7.shape}."
        )
    return InitStates(states_NX, fixtures_NF7)


def _state_array(states: object) -> FloatArray:
    array = as_numbers(states, "init_states, where they are neither the name of a set nor InitStates,")
    if array.ndim not in (1, 2) or not array.size:
        raise ConfigError(f"An array of init_states has a shape (X,) or (N, X): time, qpos, qvel; got {array.shape}.")
    return np.atleast_2d(array)


def _pass_over(name: object) -> None:
    if difflib.get_close_matches(str(name), OPTION_NAMES, n=1, cutoff=MISSPELT):
        raise UnknownNameError("reset option", name, OPTION_NAMES)
    # Python shows a warning once a place.
    gym.logger.warn("%s", f"The reset option {shown(name)} is none of {', '.join(OPTION_NAMES)} and is ignored.")


def _take(given: InitStates | FloatArray, ids_N: IdArray) -> InitStates | FloatArray:
    return given.take(ids_N) if isinstance(given, InitStates) else given[ids_N]
