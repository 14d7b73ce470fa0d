"""Stored results of the experiments, and what the pages say of them."""
