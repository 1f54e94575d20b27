"""What is inside files of models, read without running anything in them."""
