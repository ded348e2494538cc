"""Whether a card can be used: its fields, what it refers to, the code it names, and its weights.

Checking a card imports the modules that it names, which runs them, makes its detector and scores one black image where
all weights are here; `Checked.imported` says which modules outside bench these were. What a card names must be of the
kind that its place asks for, and is refused unrun where its source shows that it is not: see `bench.cards.code`.
Without `run_code` nothing is imported or made: fields, references and weights are checked, and code by its source.

`checks` checks files, with one module a kind of card (`tracks`, `threats`, `networks`, `detectors`) on what they share
(`check`).
"""
