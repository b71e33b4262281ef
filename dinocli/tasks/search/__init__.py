"""`dinocli search`: nearest images of a feature file to a query."""
