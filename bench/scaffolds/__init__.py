"""New cards, and modules where they need one: what `bench new` writes, ready to run and said line by line."""
