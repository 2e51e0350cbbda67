"""Promises of the terminal interface."""
