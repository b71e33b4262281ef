"""From a few labels to a label for every image: `classify.classify` is the order of things."""
