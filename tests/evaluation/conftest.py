"""A workspace with one tiny track, a few detectors and every kind of threat."""

from tiny_workspace import catalog, cells, outcomes, planned, write_world

__all__ = ["catalog", "cells", "outcomes", "planned", "write_world"]
