"""Tests of metrics, statistics and answer matching."""
