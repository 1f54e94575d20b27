"""Trained models: loading, predicting, scoring."""
