"""LIBERO as Gymnasium environments with stage rewards; importing it registers the ids.

    import gymnasium as gym
    import tgrpo_envs  # or gym.make("tgrpo_envs:TGRPO-LiberoObject-v0")

    env = gym.make("TGRPO-LiberoObject-v0", task=0)
    envs = gym.make_vec("TGRPO-LiberoObject-v0", num_envs=8, task="pick_up_the_butter_and_place_it_in_the_basket")
    env = gym.make("TGRPO-Custom-v0", bddl="my_task.bddl")

The import is cheap: MuJoCo and numba are loaded when the first environment is reset.
"""

from __future__ import annotations

import gymnasium as gym

ENV_IDS = {
    "libero_spatial": "TGRPO-LiberoSpatial-v0",
    "libero_object": "TGRPO-LiberoObject-v0",
    "libero_goal": "TGRPO-LiberoGoal-v0",
    "libero_10": "TGRPO-Libero10-v0",
    "libero_90": "TGRPO-Libero90-v0",
}
CUSTOM_ID = "TGRPO-Custom-v0"  # bddl=FILE, a task of one's own

for _suite, _id in {**ENV_IDS, "custom": CUSTOM_ID}.items():
    if _id not in gym.registry:
        gym.register(
            id=_id,
            entry_point="tgrpo_envs.env:LiberoEnv",
            vector_entry_point="tgrpo_envs.vector:LiberoVectorEnv",
            kwargs={"suite": _suite},
            # Gymnasium's checker fails in the first step where the first reset was interrupted or refused. Our tests
            # run the whole of it instead.
            disable_env_checker=True,
        )

__all__ = ["CUSTOM_ID", "ENV_IDS"]
