"""Masked and sound detectors of known truth: what an attack prints, what the checks make of it, and what is left.

    python benchmarks/masked_detectors.py [--only NAME,...] [--limit 25] [--adaptive] [--json FILE]

Every detector of `benchmarks/masked` is attacked on digits by pgd-l2 (40 steps, 2 restarts), and checked by the
function that `bench diagnose` calls. It is flagged where that command prints a FAIL, says below the checklist that the
figure is too high, or tells of jumps (D15) that the figure cannot be relied on. "same" and "lowest" are of the images
that the checks attack again: by pgd, and by all their attacks together. With --json a second run goes on where the
first one stopped.
"""

import argparse
import json
import sys
import time
import uuid
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from masked.registry import DEVELOPMENT, MASKED, SOUND, truth

import bench
from bench.cards.catalog import Catalog
from bench.detectors.base import Detector
from bench.evaluation.engine import CellFailure, run_plan
from bench.evaluation.eps import parse_eps
from bench.evaluation.objects import as_detector, object_spec
from bench.evaluation.plan import RunOptions, digests_for, plan_detector
from bench.evaluation.sets import chosen_sets
from bench.evaluation.store import MemoryStore
from bench.evaluation.workbench import Given, Workbench
from bench.soundness.diagnose import Diagnosis, diagnose
from bench.soundness.verdicts import Verdict

SETS = ("letters", "photos")
ATTACK = {"steps": 40, "restarts": 2}
UNRELIABLE = "cannot be relied on"
CLEARLY = 0.03
"""A printed figure this much above the truth is clearly too high."""


def main() -> None:
    """Measure what is not in the file yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="some of them, between commas; or masked, sound, development, held-out")
    parser.add_argument("--limit", type=int, default=25, help="images of each set")
    parser.add_argument("--adaptive", action="store_true", help="run adaptive-l2 beside it, which takes minutes each")
    parser.add_argument("--json", type=Path, help="a file for the figures, and where a run goes on")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    known = json.loads(options.json.read_text("utf-8")) if options.json and options.json.exists() else {}
    names = list(_chosen(options.only))
    print(
        f"{'detector':20s} {'clean':>6s} {'pgd':>6s} {'same':>6s} {'lowest':>6s} {'truth':>6s} {'s':>5s}  verdicts",
        flush=True,
    )
    for number, name in enumerate(names, 1):
        if name not in known:
            print(f"{number} of {len(names)}: {name}", file=sys.stderr, flush=True)
            known[name] = measured(name, options.limit, adaptive=options.adaptive)
            if options.json:
                options.json.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
        print(_row(name, known[name]), flush=True)
    for title, some in _groups().items():
        _summary(title, {name: known[name] for name in names if name in some})


def measured(name: str, limit: int, *, adaptive: bool = False) -> dict[str, Any]:
    """What is printed of a detector and what the checks say; see `main`."""
    kind, eps = {**MASKED, **SOUND}[name], truth()[name]["eps"]
    started = time.monotonic()
    cell, diagnosis = diagnosed(kind(), eps, limit)
    standing = diagnosis.standings[0]
    loud = [f for f in diagnosis.verdicts.findings if f.verdict in (Verdict.FAIL, Verdict.WARN)]
    found = {
        "clean": cell.mean.clean_auroc, "pgd": cell.mean.auroc, "eps": eps, "limit": limit,
        "failed": list(diagnosis.verdicts.failed), "warned": [f.check for f in loud if f.verdict is Verdict.WARN],
        "said": {f.check: f.found for f in loud}, "standing": {**asdict(standing), "side": "evade"},
        "told": str(standing), "stands": standing.stands, "seconds": time.monotonic() - started,
    }  # fmt: skip
    if adaptive:
        threat = "adaptive-l2"
        run = bench.evaluate(kind(), threat, "digits", eps=eps, limit=limit, ood=SETS, evidence=False)
        found["adaptive"] = next(meta.mean.auroc for meta in run.metas if meta.threat == threat and meta.mean)
    return found


def diagnosed(detector: Detector, eps: float, limit: int) -> tuple[Any, Diagnosis]:
    """The figures of pgd-l2's cell of a detector that is given as an object, and its diagnosis.

    Raises:
        BenchError: It cannot be attacked.
    """
    catalog = Catalog.find()
    track, threat = catalog.track("digits"), catalog.threat("pgd-l2")
    spec = object_spec(detector, track)
    options = RunOptions(0, limit, None, ATTACK, sets=chosen_sets(SETS, None))
    cells = plan_detector(
        catalog, spec, track, threats=[threat], choice=parse_eps(eps), options=options,
        digests=digests_for(catalog, [spec], [threat], options.sets.of(track), None), weights=(uuid.uuid4().hex,),
    )  # fmt: skip
    store, given = MemoryStore(), Given({spec.name: as_detector(detector, track)})
    for outcome in run_plan(cells, store, catalog, given=given):
        if isinstance(outcome, CellFailure):
            raise outcome.error
    cell = store.get(cells[-1].key)
    assert cell is not None
    return cell.meta, diagnose(cells[-1], cell, [], Workbench(catalog, store, given=given), catalog)


def is_flagged(found: dict[str, Any]) -> bool:
    """Whether the command tells a user that the figure cannot be relied on."""
    return bool(found["failed"]) or not found["stands"] or UNRELIABLE in " ".join(found["said"].values())


def too_high(name: str) -> float:
    """By how much the figure of the same attack exceeds the truth, on the images of which the truth is known."""
    return float(truth()[name]["printed"] - truth()[name]["true"])


def _chosen(only: str | None) -> Iterable[str]:
    if only is None:
        return (*MASKED, *SOUND)
    return _groups().get(only) or only.split(",")


def _groups() -> dict[str, tuple[str, ...]]:
    held = tuple(name for name in MASKED if name not in DEVELOPMENT)
    return {"masked": tuple(MASKED), "development": DEVELOPMENT, "held-out": held, "sound": tuple(SOUND)}


def _row(name: str, found: dict[str, Any]) -> str:
    figures = (
        found["clean"],
        found["pgd"],
        found["standing"]["printed"],
        found["standing"]["lowest"],
        truth()[name]["true"],
    )
    words = [*(f"{check}!" for check in found["failed"]), *found["warned"], "" if found["stands"] else "too high"]
    words.append("jumps" if UNRELIABLE in found["said"].get("D15", "") else "")
    if "adaptive" in found:
        words.append(f"(adaptive-l2 {found['adaptive']:.3f})")
    return (
        f"{name:20s} {' '.join(f'{f:6.3f}' for f in figures)} {found['seconds']:5.0f}  {' '.join(filter(None, words))}"
    )


def _summary(title: str, rows: dict[str, dict[str, Any]]) -> None:
    if not rows:
        return
    flagged = {name for name, found in rows.items() if is_flagged(found)}
    failed = {name for name, found in rows.items() if found["failed"]}
    clear = {name for name in rows if too_high(name) > CLEARLY}
    print(f"{title}: {len(rows)}, flagged {len(flagged)}, with a FAIL {len(failed)}", end="")
    if title != "sound":
        missed = sorted(clear - flagged)
        print(f"; clearly too high {len(clear)}, of those not flagged {len(missed)} {' '.join(missed)}", end="")
    print()


if __name__ == "__main__":
    main()
