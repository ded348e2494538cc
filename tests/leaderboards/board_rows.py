"""Rows of made-up scores, whose figures follow from them: no detector, no card, no attack."""

from pathlib import Path

import numpy as np

from bench.cards.base import Paper
from bench.cards.threat import Norm, Side
from bench.cards.track import SuiteSpec, TrackCard
from bench.leaderboards import arrays as names
from bench.leaderboards.arithmetic import ScoreTable
from bench.leaderboards.checks import Checked, Outcome
from bench.leaderboards.companions import Files
from bench.leaderboards.folder import FoundRow
from bench.leaderboards.ranking import rank
from bench.leaderboards.record_files import SignedRecord
from bench.leaderboards.records import BeatenFigures, FreshFigures, FreshPart, Subject, VerifiedRecord
from bench.leaderboards.row import CellPart, DetectorPart, Entry, Member, Row, Scores, TrackPart, WeightsPart
from bench.leaderboards.signatures import Signer
from bench.leaderboards.verify import Level
from bench.soundness.verdicts import Verdict

SETS = {"test": 40, "near": 30, "far": 20}
COUNTING = ("near", "far")
HASH = "ab" * 32
SUITE = (("all-l2", Norm.L2, 1.0), ("all-linf", Norm.LINF, 0.05))


def track_card(version=1, name="small"):
    declared = {"source": "strokes"}
    return TrackCard(
        name=name, version=version, summary="dark images against bright ones", shape=(1, 4, 4), classes=2,
        train=declared, calibration=declared, test=declared, ood=dict.fromkeys(COUNTING, declared),
        suite=tuple(SuiteSpec(threat=threat, eps=eps) for threat, _, eps in SUITE),
    )  # fmt: skip


def score_table(seed=0, *, gap=2.0, fall=1.0, ids=0):
    """Clean ID scores about `gap` above the OOD ones, which every attack raises by about `fall`, L2 most."""
    rng = np.random.default_rng(seed)
    ood = sum(SETS[name] for name in COUNTING)
    clean = np.concatenate([rng.normal(gap, 1, SETS["test"]), rng.normal(0, 1, ood)]).astype(np.float32)
    arrays = {names.IDS: np.arange(ids, ids + len(clean)), names.CLEAN: clean}
    for number in range(len(SUITE)):
        raised = clean[SETS["test"] :] + rng.uniform(0.5, 1.5, ood).astype(np.float32) * fall / (1 + number)
        arrays[names.worst_name(number)] = raised
        arrays[names.norm_name(number)] = np.full(ood, 0.01, np.float32)
        arrays[names.member_name(number, "climb")] = raised
    return ScoreTable(SETS, COUNTING, arrays)


def cell(norm=None, eps=None, soundness=None):
    return CellPart(
        key=HASH, source_hash=HASH, threat_hash=HASH, norm=norm, eps=eps, early_stop=True, needs=(),
        soundness=soundness or {}, gradients=12_300 if eps else 0, queries=70, seconds=1.5, device="cpu",
    )  # fmt: skip


def row_of(table, name="gat", *, version=1, bench="0.1.0", soundness=None, settings=HASH, **detector):
    """The row of these scores."""
    entries = tuple(
        Entry(
            threat=threat,
            norm=norm,
            eps=eps,
            cell=cell(norm, eps, soundness),
            sets=table.set_figures(number),
            mean=table.worst_mean(number),
            left_out={"boundary": "it was not asked for"},
            members={"climb": Member(cell=cell(norm, eps), mean=table.member_mean(number, "climb"))},
        )
        for number, (threat, norm, eps) in enumerate(SUITE)
    )
    own = {
        "name": name, "card_hash": HASH, "settings_hash": settings, "paper": None, "trained_on": "small ones",
        "weights": (WeightsPart(file="own.safetensors", sha256=HASH, source=None),), "tuned_on": "nothing",
        "extra_data": "none", "white_box": True, "certified": False, "random": False, **detector,
    }  # fmt: skip
    return Row(
        bench=bench, cell_format=1, detector=DetectorPart(**own), side=Side.EVADE, seed=0, micro_batch=8,
        track=TrackPart(name="small", version=version, hash=f"{version:064x}", set_digests={}, limit=None),
        clean_cell=cell(), id_accuracy=0.9, clean=table.clean_mean(), entries=entries,
        worst=min((entry.mean for entry in entries), key=lambda mean: mean.auroc),
        scores=Scores(file="x", sha256=HASH, sets=SETS, digests={}), images=None, gradients=24_600, queries=140,
        seconds=3.0, versions={"torch": "2.6.0"}, row_sha256=HASH,
    ).sealed()  # fmt: skip


def found_row(
    name="gat", seed=0, *, fall=1.0, gap=2.0, ids=0, past="", fresh=None, level=Level.REATTACKED, beaten=(), before=(),
    doubted=False, refuted=False, verifier="0.1.0", **row,
):  # fmt: skip
    """A row as it is found in a folder, verified up to a level; None where nobody did.

    `fresh` are the AUROCs of fresh attacks on its first entry, else those that it claims; `beaten` and `before` those
    of images of others, handed in against this version of the track and against an earlier one.
    """
    table = score_table(seed, gap=gap, fall=fall, ids=ids)
    own = row_of(table, name, **row)
    records = ()
    if level is not None:
        part = None
        if level is Level.REATTACKED:
            part = fresh_part(own, fresh or (own.entries[0].mean.auroc,) * 3, doubted=doubted, refuted=refuted)
        images = tuple(
            beaten_figures(own, auroc, earlier=earlier)
            for auroc, earlier in [*((auroc, False) for auroc in beaten), *((auroc, True) for auroc in before)]
        )
        records = (signed_record(own, table, part, level, images, verifier),)
    return FoundRow(own, records, Files(table, {}), past)


def signed_record(row, table, fresh, level, images=(), verifier="0.1.0", name="verifier@example.org"):
    """A record of somebody who may verify."""
    checked = (Checked(what="everything", outcome=Outcome.PASSED),)
    reached = Level.RESCORED if fresh is not None and (fresh.refuted or fresh.doubted) else level
    record = VerifiedRecord(
        row_sha256=row.row_sha256, made="2026-01-02T03:04:05Z", bench=verifier, asked=level, reached=reached,
        subject=Subject.of(row), checked=checked, fresh=fresh, beaten=images,
    )  # fmt: skip
    return SignedRecord(Path("x"), record, Signer(name, "SHA256:abc"), table if fresh is not None else None)


def fresh_part(row, aurocs, *, doubted=False, refuted=False):
    """Fresh attacks that leave these AUROCs of the first entry, and of the others what the row claims."""
    entries = []
    for number, entry in enumerate(row.entries):
        left = tuple(aurocs) if number == 0 else (entry.mean.auroc,) * len(aurocs)
        mean, sd = float(np.mean(left)), float(np.std(left, ddof=1))
        entries.append(FreshFigures(
            threat=entry.threat, norm=entry.norm, eps=entry.eps, claimed=entry.mean.auroc, aurocs=left, mean=mean,
            sd=sd, median=float(np.median(left)), allowed=mean + max(0.005, 3 * sd),
        ))  # fmt: skip
    own = row.model_copy(update={"seed": 1}).sealed()
    return FreshPart(
        seeds=tuple(range(1, len(aurocs) + 1)),
        entries=tuple(entries),
        refuted=refuted,
        doubted=doubted,
        ranked=min(entry.median for entry in entries),
        row=own,
    )


def beaten_figures(row, auroc, *, earlier=False):
    first = row.entries[0]
    return BeatenFigures(
        file_sha256=HASH, earlier=earlier, threat=first.threat, norm=first.norm, eps=first.eps, images=50, higher=20,
        auroc=auroc, se=0.02, beats=True,
    )  # fmt: skip


def varied_board():
    """Rows of every kind: badges, filters, flags, images that beat one, rows without a place, and an older row."""
    paper = Paper(title="On small ones", authors="A. Nonymous", year=2020, url="https://example.org/paper")
    return rank(
        track_card(),
        [
            found_row("anchor", 1, fall=0.3, fresh=(0.83, 0.85, 0.84), paper=paper),
            found_row("anchor", 8, fall=0.5, past="version 1 of the track", bench="0.0.9"),
            found_row("plain", 2, fall=2.5, refuted=True, soundness={"D4": Verdict.WARN, "D5": Verdict.PASS}),
            found_row("outlier", 3, fall=0.8, extra_data="training outliers of the track", beaten=(0.4,)),
            found_row("bounded", 4, fall=1.2, certified=True, gap=1.0),
            found_row("boxed", 5, fall=1.8, white_box=False, ids=1000),
            found_row("loud", 6, fall=0.0, level=None, bench="99.0.0"),
            found_row("scored", 7, fall=0.1, level=Level.RESCORED),
            found_row("masked", 9, fall=0.1, doubted=True, extra_data="outliers"),
        ],
    )
