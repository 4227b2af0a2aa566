"""N members that are stepped together: one task or several, reset options, facts of a task."""
