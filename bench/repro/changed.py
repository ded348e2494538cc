"""The same cards with something of them changed, as an entry asks for it: parameters, a track's sets, a training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.cards.base import content_hash
from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorSpec
from bench.cards.errors import first_problem
from bench.cards.network import RecordedSpec
from bench.cards.track import TrackCard
from bench.errors import CardError, UsageError
from bench.repro.entry import CHANGEABLE, Run

WEIGHTS = "trained"
"""The folder of a store where weights lie that entries train."""


class ChangedCatalog(Catalog):
    """The cards of another catalog under the changes of a run.

    Args:
        catalog: Whose cards.
        run: Whose changes; None for none, where only the weights are to be found.
        score: Over the parameters of every detector.
        training: Over the arguments of every detector's recipe; None where the run trains nothing.
        weights: The folder of weights that entries train.
    """

    def __init__(
        self,
        catalog: Catalog,
        run: Run | None = None,
        score: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        weights: Path | None = None,
    ) -> None:
        super().__init__(catalog.workspace, builtin=catalog.builtin)
        self._run, self._score, self._training, self._weights = run, dict(score or {}), training, weights

    def detector_spec(self, name: str, track: str) -> DetectorSpec:
        """A detector's settings on one track under the changes; where it is trained, its weights are those of that."""
        spec = super().detector_spec(name, track)
        spec = spec.model_copy(update={"params": {**spec.params, **self._score}})
        if self._run is not None and self._run.recall is not None:
            thresholds = spec.thresholds.model_copy(update={"recall": self._run.recall})
            spec = spec.model_copy(update={"thresholds": thresholds})
        return spec if self._training is None else self._trained(spec, self._training)

    def _trained(self, spec: DetectorSpec, args: Mapping[str, Any]) -> DetectorSpec:
        if spec.training is None or not spec.weights:
            raise UsageError(f"'{spec.name}' has no training recipe for track '{spec.track}'; name another detector.")
        assert self._run is not None and self._run.train is not None
        training = spec.training.model_copy(update={"args": {**spec.training.args, **args}})
        network = spec.network
        if network is not None and self._run.train.network:
            network = network.model_copy(update={"args": {**network.args, **self._run.train.network}})
        changed = {"training": training, "network": network, "recorded": RecordedSpec()}
        made = spec.model_copy(update={**changed, "weights": spec.weights[:-1]})
        key = content_hash([made.model_dump(mode="json"), self.track(spec.track).model_dump(mode="json")])
        last = spec.weights[-1].model_copy(update={"file": f"{key[:24]}.safetensors", "sha256": None})
        return made.model_copy(update={"weights": (*spec.weights[:-1], last)})

    def track(self, name: str) -> TrackCard:
        """The card of a track, with the run's own sets in place of some."""
        card, run = super().track(name), self._run
        if run is None or not (run.sets or run.sets_of):
            return card
        content = card.model_dump(mode="json")
        if run.sets_of is not None:
            other = super().track(run.sets_of).model_dump(mode="json")
            content |= {field: other[field] for field in (*CHANGEABLE, "shape")}
        try:
            return TrackCard.model_validate({**content, **run.sets})
        except ValidationError as error:
            wrong = first_problem(error, "sets")
            raise CardError(f"run '{run.id}' changes track '{name}': {wrong}; correct the entry.") from None

    def weights_path(self, file: str) -> Path | None:
        """A weights file, also of those that entries train."""
        own = None if self._weights is None else self._weights / file
        return own if own is not None and own.is_file() else super().weights_path(file)
