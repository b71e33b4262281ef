"""Configuration: recipes, automatic values and preprocessing. Imports no torch."""
