"""Settings: their fields, limits and checks."""
