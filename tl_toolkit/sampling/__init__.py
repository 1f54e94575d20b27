"""Keyed randomness, and sampling orders."""
