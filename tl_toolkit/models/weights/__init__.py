"""Pretrained weights: where they are, and how they get into a network."""
