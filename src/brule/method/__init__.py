"""Sections 2 and 4 of the paper: losses, Algorithms 1 and 2, and the training loop that runs them."""
