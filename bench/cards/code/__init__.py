"""Code that cards name as `package.module:attribute`: read unrun, imported, and hashed.

In the order of reading: `wanted` (what a place in a card asks for), `methods` (from the name to the object),
`static_code` (what the source says before anything runs), `own_modules` (a user's edited modules are imported anew),
`imports` (which modules a source may import), `source_hash` (the code that a cell's key covers).
"""
