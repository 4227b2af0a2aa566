"""Two specs of a task side by side, without training: how they rank groups of clumsy episodes."""
