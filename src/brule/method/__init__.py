"""Sections 2 and 4 of the paper: losses, Algorithms 1 and 2, and the training loop that runs them."""

VERSION = 1
"""The method's numbers: raised when a training is meant to come out differently (tests/method/test_numbers.py)."""
