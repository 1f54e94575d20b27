"""The terminal: one file for each command; only console.py prints."""
