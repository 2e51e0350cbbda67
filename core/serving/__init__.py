"""Answers questions of the screen and the command line with an opened run."""
