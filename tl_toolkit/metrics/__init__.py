"""Metrics: logits and targets in, numbers out."""
