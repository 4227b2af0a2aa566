"""What `python -m tgrpo_trainer bench` measures: decisions, updates, whole iterations, beside the machine's limits."""
