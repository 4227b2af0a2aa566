"""Environments: control steps, pictures and threads, beside LIBERO's own environment."""
