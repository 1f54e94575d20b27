"""Pickled networks, loaded only if no code in them can run."""
