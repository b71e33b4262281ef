"""Search: the images of a feature file nearest to a query."""
