"""The training engine: builds the objects, runs the loop, watches it, and survives being killed."""
