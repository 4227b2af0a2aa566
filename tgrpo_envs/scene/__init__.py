"""Task + assets -> Scene: the compiled model, its names, its goal and its initial states."""

from tgrpo_envs.scene.scene import Scene, load_scene, open_scene
from tgrpo_envs.scene.states import (
    HELDOUT_COUNT,
    draw_fixtures,
    fixed_states,
    given_states,
    heldout_states,
    official_states,
    sample_train_states,
)
from tgrpo_envs.sim.init_states import InitStates

__all__ = [
    "HELDOUT_COUNT",
    "InitStates",
    "Scene",
    "draw_fixtures",
    "fixed_states",
    "given_states",
    "heldout_states",
    "load_scene",
    "official_states",
    "open_scene",
    "sample_train_states",
]
