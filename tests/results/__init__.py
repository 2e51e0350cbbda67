"""Tests of result files and tables."""
