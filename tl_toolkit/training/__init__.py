"""How a network learns: the loop, optimizers, schedules, losses, and the state of a stage."""
