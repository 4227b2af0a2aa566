"""Shows one recorded episode as a page: its video, its stages, and why each step paid what it paid."""
