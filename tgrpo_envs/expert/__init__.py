"""A scripted expert for LIBERO-Object and the demonstrations it records."""

from tgrpo_envs.expert.demos import RecordingReport, record_demonstrations
from tgrpo_envs.expert.measure import ExpertTable, TaskScore, measure_expert
from tgrpo_envs.expert.scripted import ScriptedExpert

__all__ = [
    "ExpertTable",
    "RecordingReport",
    "ScriptedExpert",
    "TaskScore",
    "measure_expert",
    "record_demonstrations",
]
