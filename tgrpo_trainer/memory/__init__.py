"""What a GPU has to hold, by arithmetic, and what is said where it does not fit."""
