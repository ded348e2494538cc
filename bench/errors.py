"""The errors that a user may meet: one sentence each, with what was given, what is allowed and what to do.

The tree of them, with the exit code of a command that ends so, and the module where that is another one:

BenchError                      1
├── CellError                   1
│   └── MetricError             1  bench.metrics.scores
├── DivergedError               1  bench.training.jem
├── InputError                  1
└── UsageError                  2
    ├── CardError               2
    ├── DataError               2
    │   ├── MissingDataError    2  bench.datasets.sources._files
    │   └── WrongContentError   2  bench.datasets.decoding
    ├── NoSettingsError         2
    ├── NotApplicableError      2
    │   └── NotFittableError    2
    ├── RowError                2  bench.leaderboards.row
    ├── SignatureError          2  bench.leaderboards.signatures
    ├── StoreError              2  bench.evaluation.store_errors
    └── WeightsError            2

The public ones are named in docs/public-surface.md. What no class here stands for is a fault of bench itself, and ends
with 1 too.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

IMAGES_ONLY = (
    "robustood takes images only; 1-D data can be stored as images of height 1, uint8 (N, 1, W, 1), on a track of "
    "shape [1, 1, W]"
)
"""What is said where something is given that is no image."""


class BenchError(Exception):
    """Something that stops one command or one cell, said in one sentence."""


class UsageError(BenchError):
    """The request itself is wrong: the command line ends with exit code 2."""


class CardError(UsageError):
    """A card cannot be used: names file, line, field, what was given and what is allowed."""


class NoSettingsError(UsageError):
    """A detector has no settings for a track."""


class NotApplicableError(UsageError):
    """A threat that a detector gives nothing to attack: no classes to fool, no gradient to follow, no images to take.

    Args:
        sentence: What was asked for, why it cannot be, and what to do.
        why: The reason alone, the same for all threats that it holds for: "it follows gradients, and ..."; the whole
            sentence where it is left out.
    """

    def __init__(self, sentence: str, *, why: str = "") -> None:
        super().__init__(sentence)
        self.why = why or sentence


class NotFittableError(NotApplicableError):
    """A detector to which a track or a network gives too little: images, labels, predicted classes, features."""


class DataError(UsageError):
    """A data set is missing, differs from its digest or cannot be read."""


class WeightsError(UsageError):
    """Weights are missing, differ from their sha256 or do not fit the detector."""


class InputError(BenchError):
    """Images of the wrong shape, range or type were given to a detector or a threat."""


class CellError(BenchError):
    """A cell could not be computed; the other cells go on."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that memory is used up, the system's or a device's; also through a sentence made of it."""
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, RuntimeError) and any(said in str(error).lower() for said in _OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False


_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
"""What torch's allocators say where they have no error of their own for it."""


def mishap(error: BaseException) -> CellError:
    """A method's own mistake, or its own exit, as the failure of one cell.

    Args:
        error: What a detector or a threat raised that is no `BenchError`.
    """
    if is_out_of_memory(error):
        return CellError("the memory is used up; use a smaller --limit or another --device.")
    text = " ".join(str(error).split())[:300]
    sentence = f"{type(error).__name__} in the detector or the threat ({text}); set BENCH_DEBUG=1 to see where."
    failure = CellError(sentence)
    failure.__cause__ = error
    return failure


@contextmanager
def reading(what: str, error: type[UsageError] = UsageError) -> Iterator[None]:
    """The boundary around a parser of foreign input: whatever it raises, one sentence comes out.

    Args:
        what: What is read, with its name: "row 'a.json'".
        error: What is raised in place of anything that is not a sentence yet.

    Raises:
        UsageError: Of the class `error`; errors that are sentences already pass.
    """
    try:
        yield
    except BenchError:
        raise
    except Exception as reason:
        text = " ".join(str(reason).split())[:120]
        shown = "".join(sign if sign.isprintable() else "?" for sign in text)
        because = f"{type(reason).__name__}: {shown}".rstrip(": ")
        raise error(f"{what} cannot be read ({because}); correct it or write it again.") from reason


def shorten(value: object, length: int = 80) -> str:
    """A value as errors quote it: on one line, printable, and never long."""
    text = ascii(value[: 2 * length] if isinstance(value, str) else value)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def unknown_name(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in the catalog, with the nearest ones that are."""
    names = sorted(set(known))
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}."
    return UsageError(f"unknown {kind} '{given}': {hint} `bench list {kind}s` shows them all.")
