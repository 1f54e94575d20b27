"""Pretrained weights: finding, reading and loading them."""
