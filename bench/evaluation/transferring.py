"""Images that attacks on other detectors crafted, as a transfer attack takes them."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.images import Images
from bench.evaluation.results import Cell


def transferred_images(cells: Iterable[Cell], images: Images) -> dict[str, dict[str, NDArray[np.float32]]]:
    """(N, C, H, W) images by detector and set; one that an attack left alone is there as it is.

    Args:
        cells: Attacks that kept all their images.
        images: The sets that were attacked.
    """
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for cell in cells:
        rows, kept = cell.arrays["image_rows"], cell.arrays["images"]
        own, first = {}, 0
        for name, chosen in images.sets().items():
            inside = (rows >= first) & (rows < first + len(chosen))
            if inside.sum() == len(chosen) and bool((np.diff(rows[inside]) == 1).all()):
                own[name] = kept[np.flatnonzero(inside)[0] :][: len(chosen)]  # no copy: they may be many
            elif inside.any():
                pixels = chosen.pixels().numpy()
                pixels[rows[inside] - first] = kept[inside]
                own[name] = pixels
            first += len(chosen)
        found[cell.meta.detector] = own
    return found
