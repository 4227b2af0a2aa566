"""Draws a scene in software, at detail `fast`: what OpenGL's fixed pipeline would show, without OpenGL."""
