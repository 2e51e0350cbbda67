"""Tests of the language model's loading, prompts and scores."""
