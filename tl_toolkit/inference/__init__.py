"""A trained model that predicts."""
