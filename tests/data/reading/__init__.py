"""Tests of reading a source's files."""
