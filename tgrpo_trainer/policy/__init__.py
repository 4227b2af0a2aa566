"""Policies and how they are made, saved and loaded."""
