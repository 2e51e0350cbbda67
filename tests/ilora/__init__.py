"""Tests of the gate and the gated adapter."""
