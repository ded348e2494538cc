"""Recipes that make a detector's weights, and what runs them."""
