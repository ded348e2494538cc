"""Tables of cells, as text, Markdown, LaTeX and CSV: pure functions of what the store holds."""
