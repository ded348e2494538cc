"""The cards: what a user writes down, as typed objects."""
