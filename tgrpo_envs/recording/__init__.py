"""Episodes on disk: the file, playing it again, videos, a sheet of start pictures."""
