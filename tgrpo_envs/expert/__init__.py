"""A scripted expert for most of LIBERO's tasks and the demonstrations it records."""

from tgrpo_envs.expert.demos import RecordingReport, record_demonstrations
from tgrpo_envs.expert.measure import ExpertTable, TaskScore, measure_expert
from tgrpo_envs.expert.plan import can_do, expert_tasks
from tgrpo_envs.expert.scripted import ScriptedExpert

__all__ = [
    "ExpertTable",
    "RecordingReport",
    "ScriptedExpert",
    "TaskScore",
    "can_do",
    "expert_tasks",
    "measure_expert",
    "record_demonstrations",
]
