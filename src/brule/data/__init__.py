"""Where images and landmarks come from, and the one form in which they reach training."""
