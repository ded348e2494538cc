"""Attackers on a detector's score: one module a threat, `base` the interface, `geometry` the norm balls."""
