"""The terminal: one file for each command; console.py is the only place that prints."""
