"""The training engine: objects of a run, training step and loop, monitoring, checkpoints."""
