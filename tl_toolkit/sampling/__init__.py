"""Keyed randomness, and orders made from it."""
