"""What a run is told: recipes, their automatic values, and how an image becomes numbers. Imports no torch."""
