"""Tables and figures of papers, made again from stored cells and laid beside what was published."""
