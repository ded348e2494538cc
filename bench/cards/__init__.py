"""The cards: what a user writes down of tracks, networks, detectors and threats, as typed objects.

In the order in which a stranger may read it:

1. What a card is: `base` (names, hashes, unknown fields are errors), then one module a kind of card: `track`,
   `network`, `detector`, `threat`. A new kind is one more module here, and one more `Kind` in `catalog`.
2. From a file to a card: `documents` (YAML, read safely), `reading` (its fields checked), `errors` (what is wrong, one
   sentence a field).
3. From a name to a card: `folders` (where cards and weights lie), `ownership` (whose they are), `catalog` (which card
   is in force), `detector_names` and `threat_names` (names with a ':', whose cards are made from them), `standing`
   (what `--network` does to names).
4. From `package.module:attribute` in a card to code: the package `code`.

What a card does to numbers is in the key of every cell by the card's own content, so that no module here is part of a
key (`code.source_hash`): what computes belongs elsewhere. Whether a card can be used with all that it refers to is
asked in `bench.validation`, which stands above what it asks.
"""
