"""What is measured on a GPU besides the suite: the fused loops, and launches."""
