"""Whether the attacks behind a row can be believed: soundness verdicts as a row has them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bench.cards.catalog import Catalog
from bench.cards.threat import Knowledge
from bench.errors import UsageError
from bench.evaluation.results import Cell
from bench.leaderboards.row import Entry
from bench.soundness.files import kept_verdicts
from bench.soundness.records import NO_GRADIENT
from bench.soundness.standing import REPAIR
from bench.soundness.stored import Role, role_of, stored_checks
from bench.soundness.verdicts import Verdict, Verdicts, worst
from bench.threat_models.base import Status

_UNANSWERED = (Status.FAILED, Status.NON_FINITE)


def verdicts_of(catalog: Catalog, run: Path | None, cells: Iterable[Cell]) -> dict[str, dict[str, Verdict]]:
    """What each check says of each cell: what the cells say now, and under it what `bench diagnose` found.

    Args:
        catalog: Where threats and detectors are found.
        run: The folder of the cells; None where they are in memory, and nothing lies beside them.
        cells: With their samples.

    Returns:
        Key of a cell -> check -> the worst of its verdicts over the attacked sides.

    Raises:
        UsageError: Findings are there and cannot be used: a row must not forget what they doubted.
    """
    every = list(cells)
    now = stored_checks(every, catalog)
    kept: dict[str, Verdicts] = {}
    if run is not None:
        beside = kept_verdicts(run, [cell.meta.key for cell in every])
        if beside.unusable:
            raise UsageError(beside.notices(run)[0])
        kept = beside.found
    found = {}
    for key in {*now, *kept}:
        both = now[key].merged(kept[key]) if key in now and key in kept else now.get(key) or kept[key]
        checks = dict.fromkeys(finding.check for finding in both.findings)
        found[key] = {check: worst(f.verdict for f in both.findings if f.check == check) for check in checks}
    return found


def check_believed(entry: Entry, catalog: Catalog) -> None:
    """Raise where a check fails the worst case, or its strongest attack that follows gradients.

    A weaker member may fail: that another attack beats it is why there are several.

    Raises:
        UsageError: In one sentence, which checks fail which attack.
    """
    for name, failed in failed_attacks(entry, catalog).items():
        raise UsageError(
            f"{name} at {entry.norm} {entry.eps:g} fails {', '.join(failed)}, so the row cannot be believed; "
            "`bench diagnose` says what to try next."
        )


def failed_attacks(entry: Entry, catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """The worst case and its strongest attack that follows gradients, as far as a check fails them.

    That repairs of its gradient beat the strongest attack (D20) is no doubt where the worst case holds them: what
    they reach is then in the figure, which is taken image by image.
    """
    judged = {entry.threat: entry.cell}
    repaired = any(role_of(catalog.threat(name)) is Role.REPAIR for name in entry.members)
    followers = [name for name in entry.members if catalog.threat(name).knowledge is Knowledge.GRADIENTS]
    if followers:
        strongest = min(followers, key=lambda name: entry.members[name].mean.auroc)
        judged[strongest] = entry.members[strongest].cell
    failed = {
        name: tuple(
            check
            for check, verdict in cell.soundness.items()
            if verdict is Verdict.FAIL and not (check == REPAIR and repaired and name != entry.threat)
        )
        for name, cell in judged.items()
    }
    return {name: checks for name, checks in failed.items() if checks}


def unanswered(cell: Cell, counting: Iterable[str]) -> str | None:
    """Why a worst case says nothing of a detector that gave its attacks no number; None where it answered.

    The checks ask this of attacks that follow gradients (D2); here it holds whatever the attack follows, by the same
    share of images. A detector that is not finite wherever an attack looks would stand at its clean AUROC.

    Args:
        cell: Of a worst case.
        counting: The OOD sets that enter its mean.
    """
    rows = cell.samples[cell.samples["set"].isin(list(counting))]
    missing = int(np.isin(rows["status"].to_numpy(), _UNANSWERED).sum())
    if missing <= NO_GRADIENT * len(rows):
        return None
    return (
        f"{cell.meta.threat} at {cell.meta.norm} {cell.meta.eps:g} found no number for {missing} of {len(rows)} images "
        f"(scores or gradients there are not finite, or it failed; allowed are {NO_GRADIENT:.0%}), so that they count "
        "as if nobody had attacked them"
    )
