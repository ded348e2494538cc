"""Where cards and weights are found: the workspace first, the built-in content second.

A workspace is a folder with a `robustood.toml`, or one that is named. Its folders `datasets/`, `detectors/` and
`threat_models/` hold one `NAME.yaml` (or `NAME.yml`) a card. The built-in content is the same folders, inside the
installed package or, in an editable install, beside it. Cards execute code: see `bench.cards.code.methods`.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bench.cards.base import Card, RelativeFile
from bench.cards.detector import DetectorCard, DetectorSpec
from bench.cards.detector_names import adapted_card, is_adapted, split_network
from bench.cards.folders import (
    MARKER,
    builtin_content,
    card_files,
    entries,
    is_folder,
    is_workspace,
    looks_like_a_card,
    refuse_twins,
    weights_cache,
)
from bench.cards.network import Base, NetworkCard, RecordedSpec
from bench.cards.ownership import refuse_foreign_workspace
from bench.cards.reading import read_card
from bench.cards.threat import ThreatCard
from bench.cards.threat_names import adapted_threat
from bench.cards.track import TrackCard
from bench.errors import CardError, NoSettingsError, UsageError, shorten, unknown_name

SHOWN = 5
"""How many files a notice lists."""

SCORES = "all-scores"
"""Asks for every detector that is a score on a network."""

CONTROL = "control-"
"""What the names of detectors begin with that are there to test the harness, not to be compared."""


class Kind(StrEnum):
    """What a card describes."""

    DETECTOR = "detector"
    THREAT = "threat"
    TRACK = "track"
    NETWORK = "network"

    @property
    def folder(self) -> str:
        """The folder of such cards in a workspace."""
        folders = {"detector": "detectors", "threat": "threat_models", "track": "datasets"}
        return folders.get(self.value, "detectors/networks")

    @property
    def model(self) -> type[DetectorCard] | type[ThreatCard] | type[TrackCard] | type[NetworkCard]:
        """What such a card must be."""
        models: dict[str, type[DetectorCard] | type[ThreatCard] | type[TrackCard] | type[NetworkCard]]
        models = {"detector": DetectorCard, "threat": ThreatCard, "track": TrackCard, "network": NetworkCard}
        return models[self.value]


class Catalog:
    """The cards and weights of one workspace and of the built-in content; cards are read when they are asked for.

    Args:
        workspace: The folder that is read first; None for the built-in content alone.
        builtin: The folder of the built-in content; None for the one of this installation.
    """

    def __init__(self, workspace: Path | None = None, *, builtin: Path | None = None) -> None:
        self.workspace = workspace.resolve() if workspace is not None else None
        self.builtin = (builtin if builtin is not None else builtin_content()).resolve()
        self._cards: dict[Path, Card] = {}

    @classmethod
    def find(cls, workspace: Path | None = None) -> "Catalog":
        """The catalog of a named workspace, or of the nearest folder upward that has a `robustood.toml`, or of none.

        Raises:
            UsageError: The named workspace is not a folder, or the one that was found is not the user's own.
        """
        if workspace is not None:
            if not is_folder(workspace):
                raise UsageError(f"workspace '{workspace}' is not a folder; name the folder that holds the cards.")
            return cls(workspace)
        try:
            here = Path.cwd()
        except FileNotFoundError:
            raise UsageError("the current folder is gone; change into one that is there.") from None
        found = next((folder for folder in (here, *here.parents) if is_workspace(folder)), None)
        catalog = cls(found)
        if found is not None and catalog.workspace != catalog.builtin:  # the code of that one runs already
            refuse_foreign_workspace(found, MARKER, tuple(kind.folder for kind in Kind))
        return catalog

    # ------------------------------------------------------------------ cards

    def names(self, kind: Kind | str) -> list[str]:
        """The names of all cards of a kind, also of those that cannot be read."""
        return sorted(self._files[Kind(kind)])

    def where(self, kind: Kind | str, name: str) -> Path:
        """The file of a card; for a detector's variant, of the detector.

        Raises:
            UsageError: There is no such card.
        """
        files = self._files[Kind(kind)]
        stem = re.split("[.@]", name)[0] if Kind(kind) is Kind.DETECTOR else name
        if stem not in files:
            raise unknown_name(str(kind), name[:80], files)
        return files[stem][0]

    def origin(self, kind: Kind | str, name: str) -> str:
        """`workspace` or `built-in`.

        Raises:
            UsageError: There is no such card.
        """
        folder = self.builtin / Kind(kind).folder
        return "built-in" if self.where(kind, name).parent == folder else "workspace"

    def track(self, name: str) -> TrackCard:
        """The card of a track.

        Raises:
            UsageError: There is no such card, or it cannot be used.
        """
        card = self._card(Kind.TRACK, name)
        assert isinstance(card, TrackCard)
        return card

    def threat(self, name: str) -> ThreatCard:
        """The card of a threat; that of a name with a ':' is made from it: see `bench.cards.threat_names`.

        Raises:
            UsageError: There is no such card, or it cannot be used.
        """
        if is_adapted(name):
            return adapted_threat(name)
        card = self._card(Kind.THREAT, name)
        assert isinstance(card, ThreatCard)
        return card

    def detector(self, name: str) -> tuple[DetectorCard, str | None]:
        """The card and the variant, None for the plain detector, of `NAME`, `NAME.VARIANT`, or either `@NETWORK`.

        The card of a name with a ':' is made from it: see `bench.cards.detector_names`.

        Raises:
            UsageError: There is no such card or variant, or the card cannot be used.
        """
        if is_adapted(name):
            return adapted_card(split_network(name)[0], self.names(Kind.TRACK)), None
        stem, dot, variant = split_network(name)[0].partition(".")
        card = self._card(Kind.DETECTOR, name)
        assert isinstance(card, DetectorCard)
        if dot and variant not in card.variants:
            raise unknown_name("detector", name[:80], [stem, *(f"{stem}.{v}" for v in card.variants)])
        return card, variant if dot else None

    def detector_spec(self, name: str, track: str) -> DetectorSpec:
        """The settings in force for `NAME`, `NAME.VARIANT`, or either `@NETWORK`, on a track.

        Raises:
            UsageError: There is no such card, variant, network or track of it.
        """
        card, variant = self.detector(name)
        network = split_network(name)[1]
        if card.on_network:
            return card.on(self.base(network, track), track, variant)
        if network is not None:
            raise UsageError(
                f"detector '{card.name}' is trained as a whole and stands on no other network; leave out '@{network}', "
                f"or name a score, such as energy@{network}."
            )
        return card.on_track(track, variant)

    def network(self, name: str) -> NetworkCard:
        """The card of a network.

        Raises:
            UsageError: There is no such card, or it cannot be used.
        """
        card = self._card(Kind.NETWORK, name)
        assert isinstance(card, NetworkCard)
        return card

    def base(self, name: str | None, track: str) -> Base:
        """The network that a score stands on.

        Args:
            name: Of a network's card, or of a detector that is trained as a whole and has a network; None for the
                track's own.
            track: The track's name.

        Raises:
            NoSettingsError: No network is named, and the track names none.
            UsageError: There is no such network, or the detector has none on this track.
        """
        own = self.track(track).network
        if name is None and own is None:
            raise NoSettingsError(
                f"track '{track}' names no network for scores to stand on; name one with --network, or in its card: "
                "network: NAME."
            )
        chosen = name if name is not None else str(own)
        if chosen in self._files[Kind.NETWORK]:
            return self.network(chosen).base(track, default=chosen == own)
        stem = chosen.partition(".")[0]
        if stem not in self._files[Kind.DETECTOR] or self.detector(chosen)[0].on_network:
            raise unknown_name("network", chosen[:80], self.bases())
        spec = self.detector_spec(chosen, track)
        if spec.network is None:
            raise UsageError(f"detector '{chosen}' has no network for another score to stand on; name another one.")
        weights = tuple(part.model_copy(update={"network_only": True}) for part in spec.weights)
        recorded = RecordedSpec(id_accuracy=spec.recorded.id_accuracy)
        return Base(chosen, False, spec.network, weights, None, recorded, spec.micro_batch)

    def bases(self) -> list[str]:
        """Everything that a score may stand on: networks, and detectors that are trained as a whole."""
        trained = [name for name in self.names(Kind.DETECTOR) if not self._is_score(name)]
        return [*self.names(Kind.NETWORK), *trained]

    def expand(self, kind: Kind | str, asked: str) -> list[str]:
        """Names for `all`, a comma-separated list, or wildcards (`gat*`, `msp.*`).

        `all` and wildcards leave out the controls, and `all` the variants; each name comes once, in the order asked.

        Raises:
            UsageError: A name or wildcard fits no card.
        """
        kind = Kind(kind)
        chosen: dict[str, None] = {}
        for part in filter(None, (part.strip() for part in asked.split(","))):
            if part == SCORES and kind is Kind.DETECTOR:
                found = self.scores()
            elif part == "all":
                found = [name for name in self.names(kind) if not name.startswith(CONTROL)]
            elif not is_adapted(part) and any(sign in part for sign in "*?["):
                found = [name for name in self._matchable(kind, part) if fnmatchcase(name, part)]
            else:
                self._look_up(kind, part)
                found = [part]
            if not found:
                raise unknown_name(str(kind), part[:80], self.names(kind))
            chosen.update(dict.fromkeys(found))
        if not chosen:
            raise UsageError(f"no {kind} is named; give one or more of: {', '.join(self.names(kind)) or 'none'}.")
        return list(chosen)

    def scores(self) -> list[str]:
        """Detectors that stand on any network, without the controls."""
        return [name for name in self.names(Kind.DETECTOR) if self._is_score(name) and not name.startswith(CONTROL)]

    def notices(self) -> list[str]:
        """One sentence for every card of the workspace that takes the place of another built-in one."""
        sentences = []
        for kind in Kind:
            for name, files in self._files[kind].items():
                if len(files) == 2 and self._hash(kind, files[0]) != self._hash(kind, files[1]):
                    sentences.append(f"{kind} '{name}' is the workspace's own card {files[0]}, not the built-in one.")
        return sentences

    def passed_over(self) -> list[str]:
        """One notice of all files in the folders of cards that look like cards and are not read; none where all are."""
        files = [path for root in self.content_roots() for kind in Kind for path in entries(root / kind.folder)]
        other = [f"{path.parent.name}/{path.name}" for path in files if looks_like_a_card(path)]
        if not other:
            return []
        more = f" and {len(other) - SHOWN:,} more" if len(other) > SHOWN else ""
        listed = ", ".join(other[:SHOWN]) + more
        return [f"not read as cards: {listed}; a card is NAME.yaml or NAME.yml, in small letters."]

    def content_roots(self) -> list[Path]:
        """The folders that hold cards: the workspace first, the built-in content last; one where they are the same."""
        roots = [root for root in (self.workspace, self.builtin) if root is not None]
        return list(dict.fromkeys(roots))

    # ---------------------------------------------------------------- weights

    def weights_path(self, file: str) -> Path | None:
        """A weights file by its name in a card, in the workspace, the built-in content or the cache; None if nowhere.

        Raises:
            UsageError: The name would leave the folder of weights.
        """
        try:
            TypeAdapter(RelativeFile).validate_python(file)
        except ValidationError as error:
            raise UsageError(
                f"weights file {shorten(file)} is not allowed; give a relative path without '..', spaces or signs."
            ) from error
        folders = [root / "detectors" / "weights" for root in self.content_roots()]
        if (cache := weights_cache()) is not None:
            folders.append(cache)
        return next((folder / file for folder in folders if (folder / file).is_file()), None)

    def weights_dir_for_writing(self) -> Path:
        """Where new weights go: the workspace's folder of weights, or the cache without a workspace.

        Raises:
            UsageError: There is neither, as without a home folder.
        """
        folder = self.workspace / "detectors" / "weights" if self.workspace is not None else weights_cache()
        if folder is None:
            raise UsageError(
                "no folder for weights is known, since there is no home folder: name one by ROBUSTOOD_WEIGHTS, or a "
                "workspace."
            )
        return folder

    # ---------------------------------------------------------------- helpers

    @cached_property
    def _files(self) -> dict[Kind, dict[str, list[Path]]]:
        """For every kind and name the files of that name, the one in force first."""
        found: dict[Kind, dict[str, list[Path]]] = {kind: {} for kind in Kind}
        for kind in Kind:
            for root in self.content_roots():
                for path in card_files(root / kind.folder):
                    found[kind].setdefault(path.stem, []).append(path)
        return found

    def _card(self, kind: Kind, name: str) -> Card:
        return self.read(kind, self.where(kind, name))

    def read(self, kind: Kind | str, path: Path) -> Card:
        """The card in a file, read once.

        Raises:
            CardError: It cannot be used, or its name is not that of its file.
        """
        if path not in self._cards:
            refuse_twins(path)
            card = read_card(path, Kind(kind).model)
            if card.name != path.stem:
                raise CardError(f"{path}:1: field 'name': given '{card.name}', allowed: the file's own; rename one.")
            self._cards[path] = card
        return self._cards[path]

    def _look_up(self, kind: Kind, name: str) -> None:
        """Raise unless there is such a card."""
        if kind is Kind.DETECTOR:
            self.detector(name)
        elif kind is Kind.THREAT:
            self.threat(name)
        else:
            self._card(kind, name)

    def _is_score(self, name: str) -> bool:
        try:
            return self.detector(name)[0].on_network
        except CardError:  # whoever asks for that one will be told
            return False

    def _hash(self, kind: Kind, path: Path) -> str:
        try:
            return self.read(kind, path).content_hash()
        except CardError:
            return f"unreadable {path}"

    def _matchable(self, kind: Kind, pattern: str) -> Iterator[str]:
        for name in self.names(kind):
            if name.startswith(CONTROL) and not pattern.startswith(CONTROL):
                continue
            if "." not in pattern:
                yield name
            elif kind is Kind.DETECTOR:
                yield from (f"{name}.{variant}" for variant in self.detector(name)[0].variants)
