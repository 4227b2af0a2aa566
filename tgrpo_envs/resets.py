"""Reset options, validated, and the initial states they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tgrpo_envs.episodes import Episodes, merge_states
from tgrpo_envs.errors import ConfigError, UnknownNameError
from tgrpo_envs.scene import InitStates
from tgrpo_envs.sim.snapshot import BoolArray

OPTION_NAMES = ("init_states", "init_state_ids", "group_size", "reset_mask")


@dataclass(frozen=True)
class ResetOptions:
    """The parsed ``options`` of `reset`.

    Attributes:
        init_states: Set to use in place of the environment's own, or None.
        init_state_ids_N: Row of that set for each environment, or None to draw.
        group_size: Consecutive environments that share one state.
        mask_N: Which environments to reset.
    """

    init_states: str | None
    init_state_ids_N: NDArray[np.int64] | None
    group_size: int
    mask_N: BoolArray


def parse_reset_options(options: dict[str, Any] | None, num_envs: int) -> ResetOptions:
    """Check the options of `reset`.

    Raises:
        UnknownNameError: An option that does not exist.
        ConfigError: A value of the wrong shape or kind.
    """
    given = dict(options or {})
    for name in given:
        if name not in OPTION_NAMES:
            raise UnknownNameError("reset option", name, OPTION_NAMES)
    group_size = given.get("group_size", 1)
    if not isinstance(group_size, (int, np.integer)) or group_size < 1 or num_envs % group_size:
        raise ConfigError(f"group_size={group_size!r} must divide the number of environments, {num_envs}.")
    ids = given.get("init_state_ids")
    if ids is not None:
        ids = np.asarray(ids)
        if ids.shape != (num_envs,) or not np.issubdtype(ids.dtype, np.integer):
            raise ConfigError(f"init_state_ids must be {num_envs} whole numbers, got {ids.dtype} of shape {ids.shape}.")
    mask_N = np.asarray(given.get("reset_mask", np.ones(num_envs, dtype=bool)))
    if mask_N.shape != (num_envs,) or mask_N.dtype != np.bool_ or not mask_N.any():
        raise ConfigError(f"reset_mask must be {num_envs} booleans with at least one true.")
    return ResetOptions(given.get("init_states"), ids, int(group_size), mask_N)


def initial_states(episodes: Episodes, options: ResetOptions, generators_N: list[np.random.Generator]) -> InitStates:
    """N initial states as the options ask; the first member of a group draws for all of it.

    Raises:
        ConfigError: Explicit rows of a set that has none (``train`` is drawn).
        StateError: A row outside its set.
    """
    name = options.init_states or episodes.settings.init_states
    if options.init_state_ids_N is not None:
        if name == "train":
            raise ConfigError('init_state_ids need init_states="heldout" or "official"; "train" states are drawn.')
        return episodes.states_by_id(name, options.init_state_ids_N)
    groups_BG = options.mask_N.reshape(-1, options.group_size)
    drawn = {
        group: episodes.draw_state(name, generators_N[group * options.group_size])
        for group, members_G in enumerate(groups_BG)
        if members_G.any()
    }
    ignored = next(iter(drawn.values()))  # fills the rows that nobody resets
    return merge_states([drawn.get(row // options.group_size, ignored) for row in range(len(generators_N))])
