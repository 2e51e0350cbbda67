"""Tests of reading, splitting and sampling."""
