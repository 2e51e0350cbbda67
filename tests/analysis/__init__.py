"""Tests of the analysis of an experiment."""
