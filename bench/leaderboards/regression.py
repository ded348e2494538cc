"""Whether a run is worse than its baseline, or its attacks are weaker.

A change counts where it is larger than a tolerance and significant over all cells together: by swaps of ranks (Bandos
et al. 2005) where the images are the same, by both DeLong errors where they are not, and for outcomes of `fool` by the
exact test of McNemar (1947); p-values are adjusted by Holm (1979).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from bench import metrics
from bench.errors import shorten
from bench.evaluation.plan import CLEAN
from bench.leaderboards.baseline import BaselineCell, Figure, Identity, Provenance
from bench.leaderboards.same_detector import Computed
from bench.soundness.view import TEST


class Verdict(StrEnum):
    """What became of a cell."""

    UNCHANGED = "unchanged"
    BETTER = "better"
    WORSE = "worse"  # the figure fell
    WEAKER = "attack weaker"  # it rose under attack, and the detector computes the same
    MISSING = "missing"


@dataclass(frozen=True)
class Changed:
    """Something that a figure depends on and that is not as it was: the first digits of a hash, or a setting."""

    what: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.what} {self.before} -> {self.now}"


@dataclass(frozen=True)
class Compared:
    """One cell of a baseline beside the same cell now.

    Attributes:
        before: As recorded.
        now: As it is; None where it is missing.
        change: Now less before; None where it is missing.
        paired: Whether the images are the same.
        p_value: Two-sided, adjusted over all cells that were compared; 1 where the cell is missing.
        verdict: What became of it.
        changed: What it depends on and is not as it was.
        reason: Why it is missing.
    """

    before: BaselineCell
    now: BaselineCell | None
    change: metrics.Difference | None
    paired: bool
    p_value: float
    verdict: Verdict
    changed: tuple[Changed, ...] = ()
    reason: str = ""

    @property
    def regressed(self) -> bool:
        """Whether the cell fails the check."""
        return self.verdict in (Verdict.WORSE, Verdict.WEAKER)


@dataclass(frozen=True)
class Regression:
    """All cells of a baseline beside those of a run.

    Attributes:
        cells: In the baseline's order.
        tolerance: The largest change that does not count.
        alpha: Of the whole family of tests.
    """

    cells: tuple[Compared, ...]
    tolerance: float
    alpha: float

    def of(self, *verdicts: Verdict) -> list[Compared]:
        """The cells with one of these verdicts."""
        return [cell for cell in self.cells if cell.verdict in verdicts]

    @property
    def failed(self) -> bool:
        """Whether any cell regressed."""
        return any(cell.regressed for cell in self.cells)

    @property
    def missing(self) -> bool:
        """Whether any cell is missing."""
        return bool(self.of(Verdict.MISSING))


def compare(
    before: Sequence[BaselineCell],
    now: Mapping[Identity, BaselineCell],
    *,
    tolerance: float,
    alpha: float,
    reasons: Mapping[Identity, str] | None = None,
) -> Regression:
    """Hold every cell of a baseline against the same cell now.

    Args:
        before: The baseline's cells.
        now: Cells by what they are.
        tolerance: The largest change, in the figure, that does not count.
        alpha: The chance of any false alarm over all cells together.
        reasons: Why cells are missing, where that is known.
    """
    pairs = [(cell, now.get(cell.identity)) for cell in before]
    computes = Computed.of(pairs)
    changes = [None if there is None else change_of(cell, there) for cell, there in pairs]
    adjusted = iter(metrics.holm([change[0].p_value for change in changes if change is not None]).tolist())
    compared = []
    for (cell, there), change in zip(pairs, changes, strict=True):
        if there is None or change is None:
            reason = (reasons or {}).get(cell.identity, "the run does not hold it")
            compared.append(Compared(cell, None, None, False, 1.0, Verdict.MISSING, reason=reason))
            continue
        difference, paired = change
        p_value = next(adjusted)
        counts = abs(difference.difference) > tolerance and p_value <= alpha
        verdict = _verdict(cell, there, difference.difference, computes) if counts else Verdict.UNCHANGED
        differing = tuple(differences(cell, there))
        compared.append(Compared(cell, there, difference, paired, p_value, verdict, differing))
    return Regression(tuple(compared), tolerance, alpha)


def change_of(before: BaselineCell, now: BaselineCell) -> tuple[metrics.Difference, bool]:
    """The figure now less the figure before with its error, and whether the images are the same."""
    name, old, new = before.identity.label, before.scores(), now.scores()
    paired = _images(before) == _images(now)
    if before.figure is Figure.WITHSTOOD:
        test = metrics.paired_share_difference if paired else metrics.unpaired_share_difference
        return test(new[TEST] > 0.5, old[TEST] > 0.5, name=name), paired
    means = metrics.paired_mean_difference if paired else metrics.unpaired_mean_difference
    ood_new, ood_old = ([scores[key] for key in sorted(scores) if key != TEST] for scores in (new, old))
    return means(new[TEST], ood_new, old[TEST], ood_old, name=name), paired


def differences(before: BaselineCell, now: BaselineCell) -> list[Changed]:
    """What the figures depend on and is not as it was; empty where nothing is."""
    old, new = before.provenance, now.provenance
    found = [Changed(what, _short(a), _short(b)) for what, a, b in _hashes(old, new) if a != b]
    versions = sorted({*old.versions, *new.versions}) if old.versions and new.versions else []
    settings: list[tuple[str, object, object]] = [
        *((name, old.versions.get(name, "none"), new.versions.get(name, "none")) for name in versions),
        ("batch shape", old.micro_batch, new.micro_batch),
        ("early stop", old.early_stop, new.early_stop),
        ("budget", _budget(old), _budget(new)),
        *(
            (name, old.threat_params.get(name), new.threat_params.get(name))
            for name in sorted({*old.threat_params, *new.threat_params})
        ),
    ]
    return [*found, *(Changed(what, shorten(a), shorten(b)) for what, a, b in settings if a != b)]


def _budget(provenance: Provenance) -> str:
    known = provenance.evidence
    return "spent on all" if known is None else f"by an audit of {known.audit:g} within {known.tolerance:g}"


def _verdict(before: BaselineCell, now: BaselineCell, change: float, computes: "Computed") -> Verdict:
    if change < 0:
        return Verdict.WORSE
    attacked = before.identity.threat != CLEAN
    return Verdict.WEAKER if attacked and computes.the_same(before, now) else Verdict.BETTER


def _images(cell: BaselineCell) -> dict[str, tuple[str, str | None]]:
    """What tells the images of every set: their ids, and the content of the set."""
    digests = cell.provenance.set_digests
    return {name: (part.ids_sha256, digests.get(name)) for name, part in cell.samples.items()}


def _hashes(old: Provenance, new: Provenance) -> list[tuple[str, str, str]]:
    """(what, hash before, hash now)."""
    sets = sorted({*old.set_digests, *new.set_digests})
    return [
        ("detector", old.detector_hash, new.detector_hash),
        *(("weights", a, b) for a, b in zip_longest(old.weights_sha256, new.weights_sha256, fillvalue="")),
        ("threat", old.threat_hash, new.threat_hash),
        ("code", old.source_hash, new.source_hash),
        ("track", old.track_hash, new.track_hash),
        *((f"images '{name}'", old.set_digests.get(name, ""), new.set_digests.get(name, "")) for name in sets),
    ]


def _short(digest: str) -> str:
    return digest[:8] or "none"
