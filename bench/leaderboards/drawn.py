"""A verifier's own draw: images that no submitter could choose are attacked anew, and the claim must stand up to it."""

import math
import secrets
from pathlib import Path

import numpy as np

from bench.cards.catalog import Catalog
from bench.cards.threat import Knowledge, Side
from bench.evaluation.plan import PlannedCell
from bench.evaluation.store import MemoryStore
from bench.evaluation.workbench import Workbench
from bench.leaderboards import arrays as names
from bench.leaderboards.checks import Findings
from bench.leaderboards.companions import Files
from bench.leaderboards.reattack import DEVIATIONS, LEAST, MOVED
from bench.leaderboards.row import Entry, Row
from bench.leaderboards.suite import Choice, suite_cells
from bench.metrics import iqr, paired_mean_difference
from bench.metrics.scores import Scores, as_scores
from bench.soundness.lab import Allowance, Lab
from bench.soundness.view import View, split

DRAWN = 16
"""Images of every OOD set that counts."""

SURE = 4.0
"""Standard errors: an attack of equal strength raises scores by so much more for one draw in 30,000."""

_WHAT = "images drawn by the verifier are attacked no better"


def check_drawn(
    row: Row,
    files: Files,
    catalog: Catalog,
    *,
    seed: int | None = None,
    device: str = "cpu",
    data_dir: Path | None = None,
) -> Findings:
    """Attack a few images of each entry again, by one attack of the suite: what it finds, the claimed worst case beats.

    The worst of several attacks is at least as strong as one of them alone. So the AUROC of the drawn images under the
    claimed scores is at most that of the fresh ones + max(0.005, three paired standard errors); and the fresh scores
    are on average no higher than the claimed ones by four standard errors, up to the largest score of an ID image:
    beyond it no rank changes, and the row's own attack may have stopped there.

    Args:
        row: A row whose clean scores hold.
        files: What lies beside it.
        catalog: Where cards and weights are found.
        seed: Of draw and attack; None takes one that nobody knows before.
        device: Where to compute.
        data_dir: Where data files lie; None for the default.

    Raises:
        BenchError: Something cannot be loaded or computed.
    """
    found = Findings()
    chosen = secrets.randbelow(2**31) if seed is None else seed
    track = catalog.track(row.track.name)
    bench = Workbench(catalog, MemoryStore(), device=device, data_dir=data_dir)
    cells = suite_cells(catalog, row.detector.name, track, Choice(row.seed, early_stop=False), data_dir)
    for number, (entry, planned) in enumerate(zip(row.entries, cells, strict=True)):
        where = f"{entry.threat} at {entry.norm} {entry.eps:g}"
        attack = _attack(entry, planned)
        if attack is None:
            found.skip(f"{where}: {_WHAT}", "no attack of it can be run on a few images by itself")
            continue
        drawn = _drawn(files, chosen)
        claimed = files.table.by_set(files.table.arrays[names.worst_name(number)])
        was = {name: claimed[name][rows] for name, rows in drawn.items()}
        now = _attacked(bench, attack, files, drawn, chosen)
        test = files.table.test
        paired = paired_mean_difference(test, list(was.values()), test, [now[name] for name in was])
        allowed = max(LEAST, DEVIATIONS * paired.se)
        count = sum(len(rows) for rows in drawn.values())
        told = f"{count} images drawn with seed {chosen}, attacked by {attack.threat.name}"
        problems = []
        if not paired.difference <= allowed:
            problems.append(
                f"{where}: on {told}, the claimed scores give an AUROC {paired.difference:.4f} higher than this one "
                f"attack leaves (allowed is {allowed:.4f})."
            )
        rise = np.concatenate([_up_to(test, now[name]) - _up_to(test, was[name]) for name in was]) / (iqr(test) or 1.0)
        if rise.mean() > MOVED and (times := rise.mean() / (_error(rise) or MOVED)) > SURE:
            problems.append(
                f"{where}: on {told}, this one attack raises the scores by {rise.mean():.3g} IQR more than is claimed, "
                f"{times:.1f} standard errors (allowed is {SURE:g})."
            )
        found.judge(f"{where}: {_WHAT}", problems, told)
    return found


def _attack(entry: Entry, planned: PlannedCell) -> PlannedCell | None:
    """The attack of an entry that is said to be the strongest, of those that need no images of other detectors."""
    able = [
        cell
        for cell in (planned.needs or (planned,))
        if cell.threat.source is None and cell.threat.method is not None and cell.refused is None
    ]
    followers = [cell for cell in able if cell.threat.knowledge is Knowledge.GRADIENTS] or able
    known = {name: member.mean.auroc for name, member in entry.members.items()}
    return min(followers, key=lambda cell: known.get(cell.threat.name, math.inf), default=None)


def _drawn(files: Files, seed: int) -> dict[str, np.ndarray]:
    """Set -> positions of the drawn images in it."""
    rng = np.random.default_rng(seed)
    counts = {name: files.table.sets[name] for name in files.table.counting}
    return {name: np.sort(rng.permutation(count)[:DRAWN]) for name, count in counts.items()}


def _attacked(
    bench: Workbench, attack: PlannedCell, files: Files, drawn: dict[str, np.ndarray], seed: int
) -> dict[str, Scores]:
    """The scores of the drawn images after a fresh attack, by set."""
    stage, threat = bench.stage(attack), bench.threat(attack)
    clean = {name: stage.before.scores[name][rows] for name, rows in drawn.items()}
    test = files.table.test
    view = View(
        side=Side.EVADE, rows=drawn, clean=clean, attacked=clean, opponents=(test,), target=None, iqr=iqr(test) or 1.0
    )
    lab = Lab(stage, threat, view, Allowance(math.inf))
    done = lab.attack(threat, stop=False, seed=seed)
    if stage.detector.info.random:  # scored by draws that did not choose the images, as claimed ones are
        return {name: as_scores(part) for name, part in split(lab.score(done.images, fresh=2), view).items()}
    scores = lab.scores(done)
    return {name: as_scores(part) for name, part in scores.items()}


def _up_to(test: Scores, scores: Scores) -> np.ndarray:
    """Scores, those above every ID image's as the largest of these."""
    return np.minimum(scores.astype(np.float64), float(np.max(test)))


def _error(values: np.ndarray) -> float:
    """The standard error of a mean."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
