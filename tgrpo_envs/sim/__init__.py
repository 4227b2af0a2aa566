"""Physics of N environments on one model: controller, threads, pictures, snapshots, success."""

from tgrpo_envs.sim.init_states import InitStates
from tgrpo_envs.sim.simulator import SETTLE_STEPS, Simulator
from tgrpo_envs.sim.snapshot import Snapshot, SnapshotLayout
from tgrpo_envs.sim.success import goal_truth

__all__ = ["SETTLE_STEPS", "InitStates", "Simulator", "Snapshot", "SnapshotLayout", "goal_truth"]
