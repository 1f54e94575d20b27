"""Features of a frozen prefix: computed once, and trained on many times."""
