"""Tests of answering questions with an opened run."""
