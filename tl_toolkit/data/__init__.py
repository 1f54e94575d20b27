"""Images and targets: sources, the Dataset, splits, transforms and loaders."""
