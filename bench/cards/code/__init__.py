"""Code that cards name: read unrun, imported, hashed."""
