"""Tests of what is drawn in the terminal."""
