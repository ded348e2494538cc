"""From the cells of a run to the cells of a baseline."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bench import __version__, metrics
from bench.cards.threat import Goal, Side
from bench.errors import UsageError, shorten
from bench.evaluation.keys import Cards
from bench.evaluation.plan import CLEAN
from bench.evaluation.results import Cell, CellMeta, FoolAtEps
from bench.leaderboards.baseline import (
    Audited,
    Baseline,
    BaselineCell,
    Figure,
    Identity,
    Provenance,
    Request,
    Samples,
    estimate,
)
from bench.metrics.scores import Scores, as_scores
from bench.soundness.view import TEST


def record(cells: Iterable[Cell], cards: Cards | None = None) -> Baseline:
    """A baseline of these cells, in a fixed order.

    Args:
        cells: Of a run; those of side `between` have no scores of single images and are left out.
        cards: Where the threats' cards are found, to tell which parameters were asked for over theirs.

    Raises:
        UsageError: Two cells are the same one by another code or card, or there is none.
    """
    recorded = [part for cell in cells for part in recorded_cells(cell, cards)]
    if not recorded:
        raise UsageError(
            "there is no cell to record; paths between images (side between) and nearest images (threats with "
            "min_norm) have no scores to compare."
        )
    chosen = [_only(identity, recorded) for identity in dict.fromkeys(cell.identity for cell in recorded)]
    return Baseline(bench=__version__, cells=tuple(sorted(chosen, key=_order)))


def recorded_cells(cell: Cell, cards: Cards | None = None) -> list[BaselineCell]:
    """A cell as a baseline holds it: one, or on side `fool` one a radius at which its outcome was counted."""
    meta = cell.meta
    if meta.side is Side.BETWEEN or meta.nearest is not None:
        return []
    if meta.fool is None:
        return [_recorded(cell, meta.eps, Figure.AUROC, _scores(cell), cards)]
    finite = [at for at in meta.fool.curve if at.eps is not None] or list(meta.fool.curve)
    return [_recorded(cell, at.eps, Figure.WITHSTOOD, {TEST: _withstood(cell, at)}, cards) for at in finite]


def _only(identity: Identity, recorded: Sequence[BaselineCell]) -> BaselineCell:
    alike = [cell for cell in recorded if cell.identity == identity]
    if len(alike) > 1:
        raise ambiguous(identity, len(alike))
    return alike[0]


def ambiguous(identity: Identity, count: int) -> UsageError:
    """The error for a run that holds several states of one cell."""
    return UsageError(
        f"the run holds {count} cells of {identity.label}, of other parameters, cards or code; give the folder of one "
        "run alone (`bench run --out FOLDER`)."
    )


def without_members(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, without those that were computed only for a worst case and have a namesake that was asked for."""
    needed = {key for cell in cells for key in cell.meta.needs}
    asked = {_name(cell.meta) for cell in cells if cell.meta.key not in needed}
    return [cell for cell in cells if cell.meta.key not in needed or _name(cell.meta) not in asked]


def _name(meta: CellMeta) -> tuple[object, ...]:
    return meta.track, meta.detector, meta.threat, meta.norm, meta.eps, meta.side, meta.seed, meta.limit


def _order(cell: BaselineCell) -> tuple[Any, ...]:
    own = cell.identity
    return own.track, own.detector, own.threat != CLEAN, own.threat, own.norm or "", own.eps or 0.0, own.label


def _recorded(
    cell: Cell, eps: float | None, figure: Figure, scores: dict[str, Scores], cards: Cards | None
) -> BaselineCell:
    meta, known = cell.meta, cell.meta.evidence
    if meta.search:
        raise UsageError(
            f"the cell {shorten(f'{meta.detector} x {meta.threat} on {meta.track}')} cannot be recorded: it searched "
            "on a copy of the detector (--precision), and a baseline holds attacks that ask the detector itself; run "
            "it without."
        )
    if meta.nested:
        raise UsageError(
            f"the cell {shorten(f'{meta.detector} x {meta.threat} on {meta.track}')} cannot be recorded: it goes with "
            "those of other radii (--nested), and a baseline holds attacks that stand for themselves; run it without."
        )
    value, se = estimate(figure, scores)
    try:
        return BaselineCell(
            identity=Identity(
                track=meta.track,
                detector=meta.detector,
                threat=meta.threat,
                norm=meta.norm,
                eps=eps,
                side=meta.side,
                goal=meta.fool.goal if meta.fool else None,
                seed=meta.seed,
                limit=meta.limit,
            ),
            provenance=Provenance(
                detector_hash=meta.detector_hash,
                weights_sha256=meta.weights_sha256,
                source_hash=meta.source_hash,
                threat_hash=meta.threat_hash,
                threat_params=_plain(meta.threat_params),
                track_hash=meta.track_hash,
                set_digests=meta.set_digests,
                micro_batch=meta.micro_batch,
                early_stop=meta.early_stop,
                evidence=None if known is None else Audited(tolerance=known.tolerance, audit=known.audit),
                bench=meta.versions.get("bench", __version__),
                versions=meta.versions,
            ),
            request=_request(meta, cards),
            figure=figure,
            value=value,
            se=se,
            samples={name: Samples.of(part, _ids(cell, name)) for name, part in scores.items()},
        )
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        raise UsageError(
            f"the cell {shorten(f'{meta.detector} x {meta.threat} on {meta.track}')} cannot be recorded: "
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}."
        ) from None


def _request(meta: CellMeta, cards: Cards | None) -> Request:
    fool, params = meta.fool, _plain(meta.threat_params)
    radii = tuple(at.eps for at in fool.curve if at.eps is not None) if fool is not None and meta.eps is None else ()
    request = Request(loss=None if fool is None else fool.loss, radii=radii)
    if cards is None:
        return request
    try:
        usual = _plain(cards.threat(meta.threat).params)
    except UsageError:  # a threat that was given from Python has no card
        return request
    over = {name: value for name, value in params.items() if usual.get(name) != value}
    return request.model_copy(update={"overrides": over})


def _plain(params: Mapping[str, object]) -> dict[str, Any]:
    """Parameters as JSON holds them."""
    plain: dict[str, Any] = json.loads(json.dumps(params, default=str))
    return plain


def _ids(cell: Cell, name: str) -> str:
    ids = cell.samples["id"].to_numpy(np.int64)[cell.samples["set"].to_numpy() == name]
    return hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()


def _column(cell: Cell, column: str, name: str) -> Scores:
    values: Scores = as_scores(cell.samples[column].to_numpy())[cell.samples["set"].to_numpy() == name]
    return values


def _scores(cell: Cell) -> dict[str, Scores]:
    """The scores that the cell's mean AUROC is made of: beyond a stop target they count as the target."""
    meta = cell.meta
    counting = meta.mean.sets if meta.mean is not None else tuple(meta.sets)

    def clipped(name: str) -> Scores:
        scores = metrics.clip_beyond_targets(_column(cell, "score", name), meta.stop_low, meta.stop_high)
        return as_scores(scores)

    return {name: clipped(name) for name in (TEST, *counting)}


def _withstood(cell: Cell, at: FoolAtEps) -> Scores:
    """(N,) 1 for ID test images that are right as they are and were not brought to where the attack wants them.

    That is to be misclassified; and where its goal is to be accepted too, to be both.
    """
    meta = cell.meta
    rows = cell.samples[cell.samples["set"] == TEST]
    predicted = rows["attacked_predicted"].to_numpy(np.int64)
    outcomes = metrics.Outcomes(
        labels=rows["label"].to_numpy(np.int64),
        clean_predicted=rows["predicted"].to_numpy(np.int64),
        clean_scores=as_scores(rows["clean_score"].to_numpy()),
        predicted=predicted,
        scores=as_scores(rows["score"].to_numpy()),
        thresholds=_thresholds(meta, predicted),
        norms=rows["norm"].to_numpy(np.float32),
    )
    reached = metrics.wrong_within(outcomes, at.eps)
    if meta.fool is not None and meta.fool.goal is Goal.ACCEPT:
        reached &= outcomes.scores >= outcomes.thresholds
    right = outcomes.clean_predicted == outcomes.labels
    return np.asarray(right & ~reached, dtype=np.float32)


def _thresholds(meta: CellMeta, predicted: NDArray[np.int64]) -> NDArray[np.float64]:
    """The threshold in force for each predicted class: its own where classes have them, else that of all."""
    overall = next(value for name, value in meta.thresholds.items() if "/" not in name)
    own = {int(name.rpartition("/")[2]): value for name, value in meta.thresholds.items() if "/" in name}
    return np.array([own.get(int(c), overall) for c in predicted])
