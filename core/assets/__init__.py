"""Datasets and models on disk: where they come from, how they are fetched, checked and kept."""
