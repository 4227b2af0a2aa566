"""The ranks of a run, and a policy sharded over them."""
