"""Studies: named grids of tasks, methods and seeds, the runs they take, and what these show."""
