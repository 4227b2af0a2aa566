"""What the speed of this project is measured with; not part of the installed packages."""
