"""Plan the grid, compute its cells, store them, and run what is missing."""
