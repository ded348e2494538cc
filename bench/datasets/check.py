"""Which sets of a track are there, and whether they are what the card says."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.cards.track import SetSpec, TrackCard
from bench.datasets.base import ImageSet
from bench.datasets.decoding import WrongContentError
from bench.datasets.forms import form_at_hand, form_name
from bench.datasets.sources._files import MissingDataError
from bench.datasets.track import Track
from bench.errors import DataError


class State(StrEnum):
    """What was found of one set."""

    PRESENT = "present"
    MISSING = "missing"
    WRONG_DIGEST = "wrong digest"
    UNUSABLE = "unusable"


@dataclass(frozen=True)
class SetCheck:
    """One set of one track.

    Attributes:
        track: The track's name.
        name: The set's name in it.
        state: What was found.
        form: In which form it lies there; every accepted one where none does.
        count: Images that the track takes of it, None unless present.
        available: Images of the source before any cut, None unless present.
        size: Their bytes in memory, None unless present.
        digest: sha256 of the source's content, None unless present.
        problem: What is wrong and what to do, in one sentence; "" where nothing is.
        notes: What a figure may depend on, and what was passed over, counted and named: one sentence each.
    """

    track: str
    name: str
    state: State
    form: str
    count: int | None = None
    available: int | None = None
    size: int | None = None
    digest: str | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()


def check_track(card: TrackCard, data_dir: Path | None, workspace: Path | None = None) -> Iterator[SetCheck]:
    """Load every set of a track once and say what was found; never more than one set is held in memory.

    Args:
        card: The track.
        data_dir: Where data files lie; None for the default.
        workspace: A folder that is searched for the modules of a user's own sources.
    """
    for name, spec in Track(card, data_dir).specs().items():
        form = form_in_words(spec, data_dir)
        try:
            found = Track(card, data_dir, workspace=workspace).set(name)
        except DataError as error:
            # The cause names the file and not the set: one sentence for all the sets that are parts of it.
            yield SetCheck(card.name, name, _state(error), form, problem=str(error.__cause__ or error))
            continue
        yield SetCheck(
            card.name,
            name,
            State.PRESENT,
            form,
            len(found),
            found.available,
            found.images.nbytes,
            found.digest,
            notes=(*_open_digest(spec, found, data_dir), *found.notes, *found.skipped),
        )


def form_in_words(spec: SetSpec, data_dir: Path | None) -> str:
    """The form in which a set lies on disk, and which of several that is; every accepted one where none is there."""
    found = form_at_hand(spec, data_dir)
    if found is None:
        return " or ".join(map(form_name, spec.forms))
    of = f" ({spec.forms.index(found) + 1} of {len(spec.forms)})" if spec.also else ""
    return f"{form_name(found)}{of}"


def _open_digest(spec: SetSpec, found: ImageSet, data_dir: Path | None) -> list[str]:
    """What a card with several forms leaves open of the one at hand, while it gives it of others."""
    form = form_at_hand(spec, data_dir)
    if form is None or form.digests() or not any(other.digests() for other in spec.forms):
        return []
    return [f"the card gives no digest for {found.form}; its content here is {found.digest}."]


def _state(error: DataError) -> State:
    if isinstance(error, MissingDataError):
        return State.MISSING
    return State.WRONG_DIGEST if isinstance(error, WrongContentError) else State.UNUSABLE
