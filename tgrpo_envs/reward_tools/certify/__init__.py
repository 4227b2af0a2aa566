"""Dynamic checks of stage specs against the engine: recorded evidence, metrics, one certificate a spec, a report."""
