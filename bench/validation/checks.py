"""Cards checked one by one or all together: each by what is said of its kind."""

from collections.abc import Iterator
from pathlib import Path

from bench.cards.catalog import Catalog, Kind
from bench.cards.documents import Document, read_document
from bench.cards.folders import refuse_twins
from bench.cards.reading import card_from
from bench.errors import CardError
from bench.validation.check import Check, Checked
from bench.validation.detectors import DetectorCheck
from bench.validation.networks import NetworkCheck
from bench.validation.threats import ThreatCheck
from bench.validation.tracks import TrackCheck

_CHECKS: dict[Kind, type[Check]] = {
    Kind.TRACK: TrackCheck,
    Kind.THREAT: ThreatCheck,
    Kind.NETWORK: NetworkCheck,
    Kind.DETECTOR: DetectorCheck,
}


def check_catalog(catalog: Catalog, *, run_code: bool = True) -> Iterator[Checked]:
    """Check every card in force, tracks first and networks before detectors, which refer to them."""
    for kind in _CHECKS:
        for name in catalog.names(kind):
            yield check_file(catalog.where(kind, name), catalog, run_code=run_code)


def check_file(path: Path, catalog: Catalog, *, run_code: bool = True) -> Checked:
    """Check one card, which need not lie in the catalog; what it refers to must."""
    try:
        refuse_twins(path)
        document = read_document(path)
    except CardError as error:
        return Checked(path, None, (str(error),))
    kind = _kind(document)
    try:
        card = card_from(document, kind.model)
    except CardError as error:
        return Checked(path, kind, tuple(str(error).splitlines()))
    check = _CHECKS[kind](document, catalog, run_code)
    if card.name != path.stem:
        check.problem(("name",), f"field 'name': given '{card.name}', allowed: the file's own; rename one")
    check.card(card)
    return Checked(path, kind, *map(_once, (check.problems, check.notes, check.modules)))


def _once(found: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found))


def _kind(document: Document) -> Kind:
    """By the folder where there is one of the four, else by what only such cards have."""
    for kind in Kind:
        if document.path.resolve().parent.as_posix().endswith(f"/{kind.folder}"):
            return kind
    if document.content.keys() & {"ood", "calibration", "shape"}:
        return Kind.TRACK
    if "track" in document.content:
        return Kind.NETWORK
    return Kind.THREAT if document.content.keys() & {"knowledge", "norm", "eps", "sides"} else Kind.DETECTOR
