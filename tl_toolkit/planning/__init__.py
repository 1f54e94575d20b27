"""Which network, and how much training."""
