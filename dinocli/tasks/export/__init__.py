"""A backbone for other programs: `run.export` writes and proves it, `card` describes it."""
