"""Loops over time: what the unroll of a cell runs, with its derivative."""
