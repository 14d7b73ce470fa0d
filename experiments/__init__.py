"""Runnable studies built on the public face of jaxrnn; nothing imports them."""
