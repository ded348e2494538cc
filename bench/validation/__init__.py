"""Whether a card can be used, with all that it refers to."""
