"""Several runs side by side, from what they left in their folders; start at `compare_runs.compare_runs`."""
