"""Tests of running, planning and repeating a benchmark."""
