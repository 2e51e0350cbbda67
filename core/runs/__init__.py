"""Trained recommenders on disk: saved, opened, compared and exported."""
