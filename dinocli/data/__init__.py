"""Data pipeline: input paths -> image list -> `Reader` -> cache -> batches of canvases."""
