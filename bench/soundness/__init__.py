"""Whether an attack can be believed: checks D1 to D19, on stored cells and on a few extra runs."""
