"""Networks: backbones, weights, heads and freezing."""
