"""Grids that stand below the table of detectors: each is there only where some cell has something to put into it."""

from dataclasses import dataclass

from bench.report.grid import Grid
from bench.report.members import members_block
from bench.report.paths import paths_block
from bench.report.rejection import rejection_block
from bench.report.table import Table


@dataclass(frozen=True)
class Block:
    """One grid, with its title and what its figures mean."""

    heading: str
    caption: str
    grid: Grid


def blocks_below(table: Table) -> list[Block]:
    """Those that the table has."""
    found = (members_block(table), rejection_block(table), paths_block(table))
    return [Block(*block) for block in found if block is not None]
