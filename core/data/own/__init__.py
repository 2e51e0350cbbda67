"""Datasets that the user adds: guessing a card from files, and keeping it."""
