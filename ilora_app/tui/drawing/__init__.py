"""Bars, lines and colours made of characters."""
