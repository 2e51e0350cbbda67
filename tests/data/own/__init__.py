"""Tests of datasets that the user adds."""
