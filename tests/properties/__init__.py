"""What holds for every config, split, class mapping, head and file: hypothesis looks for one for which it does not."""
