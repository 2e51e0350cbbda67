"""Reads the files of a source: text, Parquet or pickle, one interaction or window per row."""
