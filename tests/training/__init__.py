"""Tests of the training loop and what it rests on."""
