"""How a network learns: the loop, optimizers, schedules, metrics and frozen features."""
