"""The OOD sets of a run: all of a track's, only some (`--ood`), or all but some (`--without`)."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.cards.track import SetSpec, TrackCard
from bench.errors import DataError, UsageError
from bench.lazy import lazily

with lazily():
    from bench.datasets import sources
    from bench.datasets.sources import _files


@dataclass(frozen=True)
class SetChoice:
    """The OOD sets that were asked for; an empty choice takes all.

    Attributes:
        only: Names of the sets to take; empty takes all.
        without: Names of the sets to leave out.
    """

    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def check(self, tracks: Sequence[TrackCard]) -> None:
        """Raise unless every name is that of a set of some track, and every track keeps a set.

        Raises:
            UsageError: A name that no track has, both kinds of choice at once, or a track without a set.
        """
        if self.only and self.without:
            raise UsageError("the OOD sets are chosen by --ood and by --without; give one of the two.")
        known = list(dict.fromkeys(name for track in tracks for name in track.ood))
        for name in (*self.only, *self.without):
            if name not in known:
                raise _unknown(name, known, [track.name for track in tracks])
        for track in tracks:
            self.of(track)

    def of(self, track: TrackCard) -> TrackCard:
        """The track with the chosen sets alone.

        Raises:
            UsageError: None of its sets is chosen.
        """
        left_out = self.left_out(track)
        if not left_out:
            return track
        if len(left_out) == len(track.ood):
            asked = f"--ood {','.join(self.only)}" if self.only else f"--without {','.join(self.without)}"
            raise UsageError(
                f"{asked} leaves no OOD set of track '{track.name}', whose sets are {', '.join(track.ood)}; choose one "
                "or more of them."
            )
        return track.model_copy(update={"ood": {n: spec for n, spec in track.ood.items() if n not in left_out}})

    def left_out(self, track: TrackCard) -> tuple[str, ...]:
        """The names of the track's OOD sets that are not chosen, in the card's order."""
        return tuple(n for n in track.ood if (self.only and n not in self.only) or n in self.without)


ALL_SETS = SetChoice()
"""Every OOD set of a track."""


def chosen_sets(only: str | Iterable[str] | None, without: str | Iterable[str] | None) -> SetChoice:
    """The choice as it was given: names, or one text with commas between them; None chooses nothing.

    Raises:
        UsageError: The sets to take are given, and there is none.
    """
    taken = _names(only)
    if only is not None and not taken:
        raise UsageError("the OOD sets to take (--ood) are an empty list; name one or more, or leave it out for all.")
    return SetChoice(taken, _names(without))


def unusable_sets(track: TrackCard, problems: Mapping[str, DataError]) -> DataError:
    """The error for sets that a run needs and that are missing or cannot be used: all of them, and the ways out.

    Only files that are not there, and that a download might bring, get the advice to download; what else is wrong with
    a set is mended as its own sentence says.

    Args:
        track: The track with the OOD sets that the run is about.
        problems: What is wrong with each set, by its name.
    """
    absent: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}

    for name, error in problems.items():
        # The cause is about the file, and not about the set, so that one file is named once.
        reason = str(error.__cause__ or error).rstrip(".")
        missing = isinstance(error, _files.MissingDataError)
        if missing and any(sources.fetchable(form.source) for form in _spec(track, name).forms):
            absent.setdefault(reason.partition(": ")[0], []).append(name)  # what to do is said once, below
        else:
            others.setdefault(reason, []).append(name)
    said = []
    if absent:
        ways = f"`bench data download --track {track.name}` fetches what can be fetched"
        said.append(f"lacks sets that the run needs: {_with_reasons(absent)}; {ways}")
    if others:
        said.append(f"has sets that cannot be used: {_with_reasons(others)}")
    sentence = f"track '{track.name}' {'; it '.join(said)}"
    if set(problems) < set(track.ood):
        sentence += f"; `--without {','.join(problems)}` runs without them"
    return DataError(f"{sentence}.")


def _spec(track: TrackCard, name: str) -> SetSpec:
    parts = {"train": track.train, "calibration": track.calibration, "test": track.test}
    return parts[name] if name in parts else track.ood[name]


def _with_reasons(by_reason: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{' and '.join(map(repr, names))} ({why})" for why, names in by_reason.items())


def _names(given: str | Iterable[str] | None) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given or ()
    return tuple(dict.fromkeys(name for part in parts if (name := str(part).strip())))


def _unknown(name: str, known: Sequence[str], tracks: Sequence[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    shown = name[:80]
    return UsageError(f"unknown OOD set '{shown}': {hint}the sets of {' and '.join(tracks)} are {', '.join(known)}.")
