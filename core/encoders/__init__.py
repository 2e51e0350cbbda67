"""Sequence encoders, and the job that trains them."""
