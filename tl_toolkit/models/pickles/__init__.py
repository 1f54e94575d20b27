"""Pickled networks, loaded only where no code in them can run."""
