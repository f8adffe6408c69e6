"""What ships: the detector, its weights, its answers, and the GAN that was trained beside it."""
