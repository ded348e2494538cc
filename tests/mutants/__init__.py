"""Mutation testing: small changes to the code, one at a time, and whether a test notices; see `__main__`."""
