"""A run on disk and in time: layout, checkpoints, schedule, signals, random streams, console."""
