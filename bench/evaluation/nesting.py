"""The best points of a smaller radius, from which the attack at a larger one goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.images import Images
from bench.evaluation.results import Cell
from bench.evaluation.transferring import transferred_images

_Images = NDArray[np.float32]


@dataclass(frozen=True)
class Points:
    """What the cell of the next smaller radius came to, by set; (N, C, H, W) each.

    Attributes:
        eps: That radius.
        best: The attacked images that it reports.
        plain: The same, but of the audited images what the form came to that the others were attacked with. The audit
            of the larger radius compares forms by these: it must see what happens to images that are not audited.
    """

    eps: float
    best: Mapping[str, _Images]
    plain: Mapping[str, _Images]

    @classmethod
    def of(cls, cell: Cell, images: Images) -> "Points":
        """Read them from a cell of a nested sweep, which keeps all of its attacked images.

        Args:
            cell: Of the smaller radius.
            images: The sets that were attacked.
        """
        assert cell.meta.eps is not None
        eps, best = cell.meta.eps, transferred_images([cell], images)[cell.meta.detector]
        if "plain_rows" not in cell.arrays:
            return cls(eps, best, best)
        rows, kept = cell.arrays["plain_rows"], cell.arrays["plain_images"]
        plain, first = dict(best), 0
        for name, chosen in images.sets().items():
            inside = (rows >= first) & (rows < first + len(chosen))
            if inside.any():
                plain[name] = best[name].copy()
                plain[name][rows[inside] - first] = kept[inside]
            first += len(chosen)
        return cls(eps, best, plain)

    @property
    def note(self) -> str:
        """What a cell says that goes on from them."""
        return f"the attack goes on from the best points at radius {self.eps:g}."

    def at(self, names: Sequence[str], rows: NDArray[np.int64], *, full: bool) -> _Images:
        """(n, C, H, W) points of some images of several sets, one set after the other.

        Args:
            names: The sets.
            rows: (n,) positions, ascending.
            full: For an attack with the full budget.
        """
        chosen, found, first = self.best if full else self.plain, [], 0
        for name in names:
            mine = rows[(rows >= first) & (rows < first + len(chosen[name]))]
            found.append(chosen[name][mine - first])
            first += len(chosen[name])
        return np.concatenate(found)
