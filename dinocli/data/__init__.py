"""From names on a disk to batches of canvases: sources -> Reader -> cache -> loader."""
