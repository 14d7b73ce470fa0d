"""Networks that several studies share."""
