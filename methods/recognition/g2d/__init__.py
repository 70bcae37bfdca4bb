"""G2D: generative-to-discriminative recognition of masked faces."""
