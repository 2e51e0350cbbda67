"""Tests of settings and run files."""
