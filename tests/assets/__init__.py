"""Tests of fetching and keeping files."""
