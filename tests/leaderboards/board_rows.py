"""Rows of made-up scores, whose figures follow from them: no detector, no card, no attack."""

import numpy as np

from bench.cards.base import Paper
from bench.cards.threat import Norm, Side
from bench.cards.track import SuiteSpec, TrackCard
from bench.leaderboards import arrays as names
from bench.leaderboards.adversarials import BeatenRecord
from bench.leaderboards.arithmetic import ScoreTable
from bench.leaderboards.claims import Files
from bench.leaderboards.folder import FoundRow
from bench.leaderboards.ranking import rank
from bench.leaderboards.records import FreshFigures, VerifiedRecord
from bench.leaderboards.row import CellPart, DetectorPart, Entry, Member, Row, Scores, TrackPart, WeightsPart
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
            threat=threat, norm=norm, eps=eps, cell=cell(norm, eps, soundness), sets=table.set_figures(number),
            mean=table.worst_mean(number), left_out={"boundary": "it was not asked for"},
            members={"climb": Member(cell=cell(norm, eps), mean=table.member_mean(number, "climb"))},
        )
        for number, (threat, norm, eps) in enumerate(SUITE)
    )  # fmt: skip
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


def found_row(name="gat", seed=0, *, fall=1.0, gap=2.0, ids=0, past="", fresh=None, beaten=(), level=None, **row):
    """A row as it is found in a folder; `fresh` are the AUROCs of fresh attacks on its first entry."""
    table = score_table(seed, gap=gap, fall=fall, ids=ids)
    own = row_of(table, name, **row)
    record = verified(own, fresh) if fresh else None
    if level is not None:
        record = VerifiedRecord(row_sha256=own.row_sha256, level=level, bench="0.1.0", ranked=own.worst.auroc)
    records = tuple(beaten_record(own, auroc) for auroc in beaten)
    return FoundRow(own, record, records, None if past else Files(table, {}), past)


def verified(row, aurocs):
    """The record of fresh attacks on the first entry."""
    median = float(np.median(aurocs))
    first = row.entries[0]
    entry = FreshFigures(
        threat=first.threat, norm=first.norm, eps=first.eps, claimed=first.mean.auroc, aurocs=tuple(aurocs),
        mean=float(np.mean(aurocs)), sd=float(np.std(aurocs, ddof=1)), median=median,
    )  # fmt: skip
    return VerifiedRecord(
        row_sha256=row.row_sha256, level=Level.REATTACKED, bench="0.1.0", seeds=tuple(range(1, len(aurocs) + 1)),
        entries=(entry,), ranked=median,
    )  # fmt: skip


def beaten_record(row, auroc):
    first = row.entries[0]
    return BeatenRecord(
        row_sha256=row.row_sha256, threat=first.threat, norm=first.norm, eps=first.eps, images=50, higher=20,
        claimed=first.mean.auroc, auroc=auroc, se=0.02, file="x", file_sha256=HASH,
    )  # fmt: skip


def varied_board():
    """Rows of every kind: badges, filters, flags, images that beat one, and an older row."""
    paper = Paper(title="On small ones", authors="A. Nonymous", year=2020, url="https://example.org/paper")
    return rank(
        track_card(),
        [
            found_row("anchor", 1, fall=0.3, fresh=(0.83, 0.85, 0.84), paper=paper),
            found_row("anchor", 8, fall=0.5, past="version 1 of the track", bench="0.0.9"),
            found_row("plain", 2, fall=2.5, level=Level.RESCORED, soundness={"D4": Verdict.WARN, "D5": Verdict.PASS}),
            found_row("outlier", 3, fall=0.8, extra_data="training outliers of the track", beaten=(0.4,)),
            found_row("bounded", 4, fall=1.2, certified=True, gap=1.0),
            found_row("boxed", 5, fall=1.8, white_box=False, ids=1000),
        ],
    )
