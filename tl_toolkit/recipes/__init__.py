"""Fine-tuning, evaluation and prediction, each a file that reads from top to bottom."""
