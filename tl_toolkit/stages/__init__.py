"""The stages of a run, put together from data, network and settings."""
