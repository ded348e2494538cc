"""Detectors that are named by what they wrap, `KIND:WHAT`, and need no card file: their card is made here.

`pytorch-ood:DETECTOR` is a score of that library, `callable:package.module:function` a function or module of one's own,
`file:PATH` an exported program. The last two run what they name: use only code and files that you would run as
programs. What the scores depend on enters the card, and with it every cell's key: the library's version, the file's
sha256. Nothing here imports torch.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.cards.detector import DetectorCard, DetectorOnTrack, DetectorSpec
from bench.cards.network import NetworkCard
from bench.errors import UsageError, shorten
from bench.places import expanded

SIZE_LIMIT = 1 << 30
"""Bytes of an exported program; larger files are refused unread."""

_MODULE_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Adapter:
    """One kind of thing that can be wrapped.

    Attributes:
        form: How it is named.
        method: The detector that wraps it.
        summary: What it is.
        params: From what stands after the colon to the detector's parameters.
        wraps_classifier: It scores the outputs of a network, after a fit where it has one.
    """

    form: str
    method: str
    summary: str
    params: Callable[[str], dict[str, Any]]
    wraps_classifier: bool = False


def adapted_card(name: str, tracks: Iterable[str]) -> DetectorCard:
    """The card of a detector that is named `KIND:WHAT`.

    Args:
        name: As it was given.
        tracks: The names of all tracks.

    Raises:
        UsageError: There is no such kind, or what it names is not there or cannot be named so.
    """
    kind, _, what = name.partition(":")
    if kind not in ADAPTERS or not what or not what.isprintable():
        raise UsageError(f"detector {shorten(name)} has a ':'; such names are {forms()}: write one of them.")
    adapter = ADAPTERS[kind]
    card = DetectorCard(
        name=kind,
        summary=adapter.summary,
        method=adapter.method,
        params=adapter.params(what),
        on_network=adapter.wraps_classifier,
        fit_when_loaded=adapter.wraps_classifier,
        tracks={} if adapter.wraps_classifier else {name: DetectorOnTrack() for name in tracks},
    )
    return card.model_copy(update={"name": name})


def is_adapted(name: str) -> bool:
    """Whether a detector's name says what it wraps, so that its card is made from it."""
    return ":" in name


def stands_on_network(name: str) -> bool:
    """Whether what is named is a score on a network, so that `@NETWORK` may follow."""
    adapter = ADAPTERS.get(name.partition(":")[0])
    return adapter is not None and adapter.wraps_classifier


def of_logits(network: NetworkCard) -> DetectorSpec:
    """A score that needs nothing but a network's logits, on the track of its card: to try, train or convert it."""
    card = DetectorCard(name=network.name, summary="", method="bench.detectors.energy:Energy", on_network=True)
    return card.on(network.base(network.track, default=True), network.track)


def split_network(name: str) -> tuple[str, str | None]:
    """The score and the network of `SCORE@NETWORK`; None for the track's own. Paths and code keep their signs."""
    if is_adapted(name) and not stands_on_network(name):
        return name, None
    score, at, network = name.partition("@")
    return score, network if at else None


def forms() -> str:
    """How such detectors are named."""
    return ", ".join(adapter.form for adapter in ADAPTERS.values())


def names_code(value: object) -> bool:
    """Whether a parameter's value is `package.module:attribute`, so that scores depend on that module."""
    return isinstance(value, str) and _MODULE_PATH.fullmatch(value) is not None


def _library(detector: str) -> dict[str, Any]:
    try:
        return {"detector": detector, "version": version("pytorch-ood")}
    except PackageNotFoundError:
        raise UsageError(
            f"detector 'pytorch-ood:{detector}' needs the library pytorch-ood, which is not here; "
            "install it with `pip install 'robustood[adapters]'`."
        ) from None


def _callable(target: str) -> dict[str, Any]:
    if not names_code(target):
        raise UsageError(
            f"detector {shorten(f'callable:{target}')} is not allowed; write callable:package.module:function."
        )
    return {"target": target}


def program_digest(path: str) -> str:
    """sha256 of an exported program.

    Raises:
        UsageError: It cannot be read, or is too large.
    """
    return str(_file(path)["sha256"])


def _file(path: str) -> dict[str, Any]:
    file = expanded(path, f"program '{path}'")
    try:
        status = file.stat()
        if status.st_size > SIZE_LIMIT:
            raise UsageError(f"program '{file}' has {status.st_size:,} bytes; allowed are {SIZE_LIMIT:,}.")
        return {"path": path, "sha256": _sha256(file, status.st_mtime_ns, status.st_size)}
    except OSError as error:
        raise UsageError(
            f"program '{file}' cannot be read ({error.strerror}); give file:PATH of one that "
            "torch.export.save or torch.jit.save wrote."
        ) from error


@cache
def _sha256(file: Path, _changed: int, _size: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


ADAPTERS = {
    "pytorch-ood": Adapter(
        form="pytorch-ood:DETECTOR",
        method="bench.detectors.adapters.pytorch_ood:PytorchOOD",
        summary="A score of the library pytorch-ood on a network.",
        params=_library,
        wraps_classifier=True,
    ),
    "callable": Adapter(
        form="callable:package.module:function",
        method="bench.detectors.adapters.callable:CallableDetector",
        summary="A function or module of one's own: images in [0, 1] to scores, or to logits, scored by their energy.",
        params=_callable,
    ),
    "file": Adapter(
        form="file:PATH",
        method="bench.detectors.adapters.exported:ExportedDetector",
        summary="An exported program: images in [0, 1] to scores, or to logits, scored by their energy.",
        params=_file,
    ),
}
"""What may stand before the colon."""
