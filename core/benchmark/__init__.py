"""Runs methods on the same cases, within a time budget where asked, and evaluates saved runs."""
