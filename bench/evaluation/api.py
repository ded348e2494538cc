"""`bench.evaluate`: from Python what `bench run` does from the shell, with any module or function too."""

import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from bench.cards.catalog import Catalog
from bench.cards.threat import Goal, Loss, Side
from bench.cards.track import TrackCard
from bench.datasets.track import Track
from bench.detectors.precision import Precision, SearchPrecision
from bench.errors import BenchError, CellError
from bench.evaluation.asked import AsDetector, Asked, AskedDetector, AsThreat, as_asked
from bench.evaluation.engine import CellFailure, CellProgress, Outcome, run_plan
from bench.evaluation.eps import parse_eps
from bench.evaluation.loaded import device_of_name
from bench.evaluation.objects import back_on_its_device
from bench.evaluation.plan import RunOptions, as_choice, as_side
from bench.evaluation.planned import PlannedCell
from bench.evaluation.remote_store import written_store
from bench.evaluation.results import Cell
from bench.evaluation.sets import chosen_sets
from bench.evaluation.spending import Evidence
from bench.evaluation.store import CellStore, MemoryStore
from bench.evaluation.store_errors import StoreError
from bench.evaluation.store_places import store_place


def evaluate(
    detector: AsDetector | Sequence[AsDetector],
    threat: AsThreat | Sequence[AsThreat] = "pgd-l2",
    track: str | TrackCard | Track = "digits",
    *,
    network: str | nn.Module | None = None,
    eps: float | str | Iterable[float | str] | None = None,
    side: Side | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    early_stop: bool = True,
    evidence: bool = True,
    tolerance: float = 0.001,
    audit: float = 0.1,
    precision: Precision | str = Precision.FLOAT32,
    compile_copy: bool = False,
    nested: bool = False,
    micro_batch: int | None = None,
    goal: Goal | str = Goal.MISCLASSIFY,
    loss: Loss | str | None = None,
    ood: str | Iterable[str] | None = None,
    without: str | Iterable[str] | None = None,
    device: str = "auto",
    store: Path | str | None = None,
    workspace: Path | str | None = None,
    data_dir: Path | str | None = None,
    progress: CellProgress | None = None,
    **params: Any,
) -> tuple[Cell, ...]:
    """Score detectors on a track, clean and under attack: every detector under every threat at every radius.

    A detector, threat or track that is given as an object is always computed anew, since nothing tells whether it
    has changed; what is given by name is taken from the store where it is there.

    Args:
        detector: A catalog name, a `Detector`, or a function or any module, which takes (N, C, H, W) images in [0, 1]
            and returns (N,) scores, higher for in-distribution, or (N, K) logits, as `callable:` takes it; a module
            is asked for its `score` where it has one. It is left as it was. A list of them, or names in one text
            ("msp,energy", "all-scores"), gives all of them in one result.
        threat: A catalog name, a card, or a `Threat` (its eps must then be given with the norm, as "l2:1"), a list of
            them, or names in one text ("clean,pgd-linf").
        track: A catalog name, a card, or a `Track`, as `bench.make_track` makes one of arrays or datasets.
        network: What a score such as "energy" or "knn" stands on, in place of the track's own: a name, or a module that
            is made already, from (N, C, H, W) images in [0, 1] to (N, K) logits, of which a copy is taken.
        eps: Radii, as `bench run --eps` takes them; None for those of the threat's card.
        side: The attacked side: "evade", "alarm", "both", "fool" or "between"; None for the threat's own.
        limit: The most images of a set; None for the track's own limit.
        seed: Of the attack's random numbers.
        early_stop: Stop an image's attack once no rank can change any more.
        evidence: Spend the whole budget on an audited share of the images, and on the others what that shows to be
            enough; False spends it on all.
        tolerance: How far the AUROC of a cheaper attack may lie from that of the full budget, by the audit; above 0
            and at most 0.1.
        audit: Share of the images of each set that are audited at most, at least 20 of them; above 0 and at most 1. A
            smaller sample is tried before.
        precision: The arithmetic of the first half of an attack's steps, on a copy that agrees with the detector:
            "float32" takes no copy; "tf32", "bf16", or "auto" for the fastest that the device declares to have.
        compile_copy: Compile that copy.
        nested: Let an attack by gradients at several radii go on from the best points of the next smaller one.
        micro_batch: The batch shape of scores and gradients; None for the detector's own.
        goal: On side "fool": "misclassify" or "misclassify-and-accept".
        loss: What directs gradients there: "ce", "margin" or "joint"; None for the one that fits the goal.
        ood: The track's OOD sets to take, as names or one text with commas; None for all of them.
        without: The OOD sets to leave out: the mean is that of the others, and the cells say so.
        device: "cpu", "cuda", "cuda:N", or "auto" for a GPU where there is one.
        store: A folder for the cells, or a URL such as "s3://bucket/prefix"; None keeps them in memory.
        workspace: A folder of cards; None for the nearest one upward.
        data_dir: Where data files lie; None for the default.
        progress: Hears of the cell at hand.
        params: Parameters over those of the threat's card, such as `steps=20`.

    Returns:
        Of each detector the clean cell first, then one a threat and radius, the smallest first where they are nested.
        `bench.evaluate` returns them as the `cells` of an `Evaluation`, which has their tables and figures.

    Raises:
        UsageError: A wrong name, radius or parameter, or missing data or weights.
        CellError: A cell could not be computed. Of several detectors or threats, one that cannot be computed is left
            out with a warning; this is raised where none is left.

    Example:
        >>> found = evaluate("msp,energy", "noise-l2,pgd-l2", eps=0.5, limit=10, steps=2, restarts=1)
        >>> for meta in (cell.meta for cell in found):
        ...     print(meta.detector, meta.threat, f"{meta.mean.auroc:.2f}")
        msp clean 0.96
        msp noise-l2 0.96
        msp pgd-l2 0.91
        energy clean 0.99
        energy noise-l2 0.98
        energy pgd-l2 0.95
    """
    device, data_dir = device_of_name(device), None if data_dir is None else Path(data_dir)
    catalog = Catalog.find(None if workspace is None else Path(workspace))
    asked = as_asked(detector, threat, track, network, parse_eps(eps), catalog)
    options = RunOptions(
        seed,
        limit,
        as_side(side),
        params,
        early_stop,
        micro_batch,
        data_dir,
        as_choice(Goal, goal, "goal"),
        None if loss is None else as_choice(Loss, loss, "loss"),
        chosen_sets(ood, without),
        Evidence(tolerance, audit) if evidence else None,
        SearchPrecision(as_choice(Precision, precision, "precision"), compile_copy),
        nested,
    )
    plans = asked.planned(options)
    with _opened(store) as kept:
        run = _Run(asked, kept, device, data_dir, progress)
        for one, cells in plans:
            run.compute(one, cells)
        return run.cells()


class _Run:
    """The cells of a request as they come.

    Of one detector and one threat a cell that fails ends the run; of several, the others go on.
    """

    def __init__(
        self, asked: Asked, store: CellStore, device: str, data_dir: Path | None, progress: CellProgress | None
    ) -> None:
        self._asked, self._store = asked, store
        self._device, self._data_dir, self._progress = device, data_dir, progress
        self._done: dict[str, Cell] = {}
        self._failed: dict[str, tuple[BenchError, list[str]]] = {}
        self._attacked = self._to_attack = 0

    def compute(self, detector: AskedDetector, cells: Sequence[PlannedCell]) -> None:
        """Compute the cells of one detector.

        Raises:
            BenchError: One failed, and nothing else was asked for.
        """
        self._to_attack += sum(cell.attacks for cell in cells)
        with back_on_its_device(detector.given):
            try:
                given = self._asked.given(detector, self._device, self._data_dir)
                for outcome in run_plan(
                    cells,
                    self._store,
                    self._asked.catalog,
                    device=self._device,
                    data_dir=self._data_dir,
                    progress=self._progress,
                    given=given,
                ):
                    self._take(outcome)
            except StoreError:
                raise
            except BenchError as error:
                self._fail(error, f"detector '{detector.spec.name}': {error}")

    def cells(self) -> tuple[Cell, ...]:
        """All cells, after warnings of those that failed, each reason once.

        Raises:
            BenchError: No attack that was asked for could be computed, or no cell at all.
        """
        if self._failed and (not self._done or (self._to_attack and not self._attacked)):
            raise next(iter(self._failed.values()))[0]
        for _, sentences in self._failed.values():
            more = f" ({len(sentences)} cells failed for this reason)" if len(sentences) > 1 else ""
            warnings.warn(f"{sentences[0]}{more}", stacklevel=4)
        return tuple(self._done.values())

    def _take(self, outcome: Outcome) -> None:
        if isinstance(outcome, CellFailure):
            self._fail(outcome.error, outcome.sentence)
            return
        cell = self._store.get(outcome.meta.key)
        if cell is None:
            raise CellError(f"{outcome.planned.label} was stored and is gone; does something else clear the store?")
        self._attacked += outcome.planned.attacks
        self._done.setdefault(cell.meta.key, cell)

    def _fail(self, error: BenchError, sentence: str) -> None:
        if self._asked.single:
            raise error
        self._failed.setdefault(str(error), (error, []))[1].append(sentence)


def _opened(store: Path | str | None) -> AbstractContextManager[CellStore]:
    if store is None:
        return nullcontext(MemoryStore())
    return written_store(store_place(store), said=lambda sentence: warnings.warn(sentence, stacklevel=2))
