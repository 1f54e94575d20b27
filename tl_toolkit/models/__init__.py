"""Networks: backbones, weights, heads and what of them trains."""
