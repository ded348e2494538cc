"""Rows of the leaderboard: what they hold, how they are built from a run, and how they are verified."""
