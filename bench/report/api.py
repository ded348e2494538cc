"""`bench.evaluate` and `bench.load_results`: results as tables and figures, also in a notebook."""

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, ParamSpec

import pandas as pd

from bench.errors import UsageError
from bench.evaluation import api
from bench.evaluation.remote_store import read_store
from bench.evaluation.results import Cell, CellMeta
from bench.evaluation.store import CellStore, MemoryStore
from bench.evaluation.store_places import store_place
from bench.report.captions import remarks
from bench.report.closing import closing_sentences
from bench.report.conditions import conditions_of
from bench.report.html.build import attacks_of, checked
from bench.report.html.convergence import Convergence
from bench.report.html.curves import curves_of
from bench.report.html.drawing import Drawing, Drawings
from bench.report.html.grids import shown_table
from bench.report.html.page import render_tables
from bench.report.html.scores import histogram
from bench.report.radii import NOTES as RADII
from bench.report.records import nearest_rows
from bench.report.table import Table, build_tables
from bench.soundness.files import NOTES as VERDICTS
from bench.soundness.files import failed_checks

_Arguments = ParamSpec("_Arguments")

PLOTS = ("eps", "scores", "convergence")
"""What `Evaluation.plot` draws."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Cells, with their tables and figures.

    Attributes:
        metas: The figures of each cell.
        store: Where their samples are.
        failed: Which of them failed which soundness checks, by their keys.
    """

    CONDITIONS: ClassVar[tuple[str, ...]] = (
        "track", "threat", "norm", "side", "goal", "limit", "seed", "early_stop", "params", "evidence", "status",
        "without", "left_out", "failed_parts",
    )  # fmt: skip
    """Columns of `table` beside the detector, eps and set: figures of rows that differ in one are of unlike cells."""

    metas: tuple[CellMeta, ...]
    store: CellStore
    failed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells with their samples and arrays, read when they are first asked for."""
        return tuple(cell for meta in self.metas if (cell := self.store.get(meta.key)) is not None)

    def table(self) -> pd.DataFrame:
        """One row a cell and OOD set, and one a cell for the mean over natural sets.

        Figures of a cell that has `failed_checks` or `failed_parts` are not to be believed. Rows belong together where
        they agree in all `CONDITIONS`: `params` has all parameters of the attack in force, `steps` and `restarts` two
        of them; `status` is "completed", or says how many images ended how; `without` names OOD sets that were left
        out, so that the mean is not the track's; `left_out` and `failed_parts` name parts of the attack that could not
        be run. `cell` is the beginning of the cell's key: two rows that differ in it alone are of other weights, data
        or code.
        """
        rows = []
        for meta in self.metas:
            base = {
                "detector": meta.detector,
                "threat": meta.threat,
                "norm": meta.norm and str(meta.norm),
                "eps": meta.eps,
                "side": str(meta.side),
                "track": meta.track,
                "limit": meta.limit,
                "seed": meta.seed,
                "early_stop": meta.early_stop,
                "goal": str(meta.fool.goal) if meta.fool is not None else "",
                **conditions_of(meta),
                "search": meta.search,
                "nested": meta.nested,
                "micro_batch": meta.micro_batch,
                "device": meta.device,
                "version": meta.versions.get("bench"),
                "cell": meta.key[:12],
                "failed_checks": " ".join(self.failed.get(meta.key, ())),
            }
            figures = [*meta.sets.items(), *([("mean", meta.mean)] if meta.mean is not None else [])]
            base["id_accuracy"] = meta.id_accuracy
            shown = ("clean_auroc", "clean_se", "auroc", "se", "fpr95", "ceiling", "reachable", "guaranteed_auroc")
            rows += [{**base, "set": name, **{f: getattr(values, f) for f in shown}} for name, values in figures]
            rows += [{**base, **row} for row in nearest_rows(meta)]
        return pd.DataFrame(rows)

    def plot(self, kind: str = "eps") -> Drawings:
        """Figures, which a notebook shows as they are; each has a matplotlib `figure`.

        Args:
            kind: "eps": AUROC (on side fool, shares of fooled images) against the radius; "scores": clean and attacked
                scores of each attacked cell; "convergence": the best score so far along each attack.

        Raises:
            UsageError: There is no such kind.
        """
        if kind not in PLOTS:
            raise UsageError(f"there is no plot '{kind}'; give one of {', '.join(PLOTS)}.")
        if kind == "eps":
            return Drawings(drawing for table in self._tables() for drawing in curves_of(table))
        scores: list[Drawing] = []
        convergence = Convergence()
        for table in self._tables():
            for threat, label, meta in attacks_of(table):
                if (cell := self.store.get(meta.key)) is not None:
                    convergence.add(checked(cell), threat, label)
                    scores += [drawn] if kind == "scores" and (drawn := histogram(cell)) is not None else []
        return Drawings(scores if kind == "scores" else convergence.drawings())

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must not overlook: doubted attacks, radii that prove nothing, failures, notes of the cells."""
        return tuple(dict.fromkeys(sentence for table in self._tables() for sentence in remarks(table)))

    def __repr__(self) -> str:
        said = "; ".join(closing_sentences(self._tables())) or "none"
        counts = f" ({len(self.notes)} notes to read in `notes`)" if self.notes else ""
        return f"Evaluation of {len(self.metas)} cells: {said}{counts}"

    def _tables(self) -> tuple[Table, ...]:
        return build_tables(self.metas, self.failed)

    def _repr_html_(self) -> str:
        return render_tables(shown_table(table, {}) for table in self._tables())


def load_results(path: Path | str) -> Evaluation:
    """What `bench run --out` wrote, with the verdicts of soundness checks that lie beside it.

    A damaged cell is left out, with a warning.

    Args:
        path: The folder, or a URL such as "s3://bucket/prefix".

    Raises:
        UsageError: There is no such store, or it holds no cells of this version.
    """
    store = read_store(store_place(path), notes=(VERDICTS, RADII), said=lambda said: warnings.warn(said, stacklevel=4))
    metas = tuple(store.metas())
    for notice in store.notices:
        warnings.warn(notice, stacklevel=2)
    if not metas:
        raise UsageError(f"'{store.name}' holds no cells of this version of bench; `bench run --out` writes them.")
    keys = [meta.key for meta in metas]
    failed = failed_checks(store.root, keys, lambda sentence: warnings.warn(sentence, stacklevel=5))
    return Evaluation(metas, store, failed)


def _with_figures(function: Callable[_Arguments, tuple[Cell, ...]]) -> Callable[_Arguments, Evaluation]:
    """The same function with its cells as an `Evaluation`: what computes cells knows nothing of figures."""

    @functools.wraps(function)
    def wrapper(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Evaluation:
        cells = function(*args, **kwargs)
        store = MemoryStore()
        for cell in cells:
            store.put(cell)
        return Evaluation(tuple(cell.meta for cell in cells), store)

    own = inspect.signature(function).replace(return_annotation=Evaluation)
    wrapper.__signature__ = own  # type: ignore[attr-defined]
    return wrapper


evaluate = _with_figures(api.evaluate)
