"""Features of a frozen prefix: computed once for each image and used in every epoch."""
