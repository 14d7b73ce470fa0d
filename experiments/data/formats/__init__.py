"""Readers of file formats; they trust nothing that a file says of itself."""
