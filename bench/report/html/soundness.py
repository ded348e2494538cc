"""What soundness checks say: one matrix of checks and detectors in words, and every finding of each attack."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.evaluation.results import CellMeta
from bench.report.html.scores import label_of
from bench.soundness.checklist import CHECKS
from bench.soundness.verdicts import SEVERITY, Finding, Verdict, Verdicts, count, worst

_NOT_MADE = "not made"


@dataclass(frozen=True)
class Checked:
    """The findings of one cell; each with its figures in words."""

    title: str
    counts: tuple[tuple[str, int], ...]
    findings: tuple[tuple[Finding, str], ...]


@dataclass(frozen=True)
class Judgement:
    """What a check says of all attacks on one detector: "fail in 2 of 6"."""

    verdict: str
    words: str


@dataclass(frozen=True)
class Asked:
    """A check, what it asks, and what it says of each detector."""

    check: str
    title: str
    judgements: tuple[Judgement, ...]


@dataclass(frozen=True)
class Soundness:
    """What the checks say of all attacks.

    Attributes:
        detectors: The columns of the matrix.
        asked: Its rows: the checks that were made of any attack.
        absent: What the other checks would have asked.
        unchecked: The attacked cells without findings.
    """

    detectors: tuple[str, ...]
    asked: tuple[Asked, ...]
    absent: tuple[str, ...]
    unchecked: tuple[str, ...]


def soundness_of(attacks: Iterable[CellMeta], verdicts: Mapping[str, Verdicts]) -> Soundness:
    """The findings on these cells, by detector.

    Args:
        attacks: The attacked cells.
        verdicts: Findings by the cells' keys.
    """
    metas = list(attacks)
    known = [meta for meta in metas if meta.key in verdicts]
    by_detector: dict[str, list[tuple[Finding, ...]]] = {}
    for meta in sorted(known, key=lambda meta: meta.detector):
        by_detector.setdefault(meta.detector, []).append(verdicts[meta.key].findings)
    every = [one for cells in by_detector.values() for one in cells]
    made = [check for check in CHECKS if any(_of(check, own) not in (None, Verdict.SKIPPED) for own in every)]
    asked = [
        Asked(check, CHECKS[check].title, tuple(_judged(check, cells) for cells in by_detector.values()))
        for check in made
    ]
    absent = [f"{CHECKS[check].title} ({check})" for check in CHECKS if check not in made] if known else []
    unchecked = tuple(_title(meta) for meta in metas if meta.key not in verdicts)
    return Soundness(tuple(by_detector), tuple(asked), tuple(absent), unchecked)


def checked_of(meta: CellMeta, verdicts: Verdicts) -> Checked:
    """The findings of one cell."""
    counts = tuple((str(verdict), count(verdicts.findings, verdict)) for verdict in reversed(SEVERITY))
    return Checked(_title(meta), counts, tuple((finding, _figures(finding)) for finding in verdicts.findings))


def _title(meta: CellMeta) -> str:
    return f"{label_of(meta)}, {meta.track}, side {meta.side}"


def _of(check: str, findings: Iterable[Finding]) -> Verdict | None:
    """The worst verdict of a check over the attacked sides; None where it was not made."""
    own = [finding.verdict for finding in findings if finding.check == check]
    return worst(own) if own else None


def _judged(check: str, cells: Sequence[Iterable[Finding]]) -> Judgement:
    found = [_of(check, own) for own in cells]
    made = [verdict for verdict in found if verdict not in (None, Verdict.SKIPPED)]
    if not made:
        return Judgement(str(Verdict.SKIPPED), _NOT_MADE)
    verdict = max(filter(None, made), key=SEVERITY.index)
    number = sum(own is verdict for own in made)
    word = {Verdict.INFO: "for information"}.get(verdict, str(verdict).lower())
    return Judgement(str(verdict), word if number == len(cells) else f"{word} in {number} of {len(cells)}")


def _figures(finding: Finding) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in finding.figures.items())
