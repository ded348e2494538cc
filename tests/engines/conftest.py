"""The tiny workspace of the tests of cells."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from tiny_workspace import catalog, cells, outcomes, planned, write_world

__all__ = ["catalog", "cells", "outcomes", "planned", "write_world"]
