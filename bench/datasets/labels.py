"""Whether the labels of an ID set are those of its track: a wrong one would be a wrong ID accuracy."""

import numpy as np

from bench.errors import DataError

NAMED = 10
"""How many classes a sentence lists."""


def label_notes(labels: np.ndarray, classes: int, where: str) -> tuple[str, ...]:
    """What a reader should know of the labels of a train, calibration or test set; nothing where all are there.

    Args:
        labels: (N,) int64, -1 where an image has none.
        classes: K, the track's number of classes.
        where: The set, for the sentence.

    Raises:
        DataError: A label is neither -1 nor 0..K-1.
    """
    outside = (labels < -1) | (labels >= classes)
    if outside.any():
        raise DataError(
            f"{where} has labels {labels.min()} to {labels.max()}, of which {outside.sum():,} of {len(labels):,} lie "
            f"outside 0 to {classes - 1}, the labels of {classes} classes (-1 is no label): correct the labels, or "
            "`classes` in the track's card."
        )
    unlabelled = int((labels == -1).sum())
    if unlabelled == len(labels):
        return ("no image has a label: there is no ID accuracy, and nothing that needs classes can be done with it.",)
    notes = []
    if unlabelled:
        notes.append(f"{unlabelled:,} of {len(labels):,} images have no label; they do not enter the ID accuracy.")
    absent = np.setdiff1d(np.arange(classes), labels)
    if len(absent):
        listed = ", ".join(map(str, absent[:NAMED])) + (
            f" and {len(absent) - NAMED:,} more" if len(absent) > NAMED else ""
        )
        notes.append(f"no image has label {listed}, of the track's {classes} classes.")
    return tuple(notes)
