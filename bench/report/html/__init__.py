"""One self-contained HTML page from a store of cells, and its figures."""
