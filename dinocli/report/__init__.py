"""Self-contained pages and pictures from plain data."""
