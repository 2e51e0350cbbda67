"""Tests of saved runs."""
