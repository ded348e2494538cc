"""Whether an attack can be believed: checks D1 to D20, on stored cells and on a few extra runs."""
