"""Networks that more than one study may use, built from sizes."""
