"""What `bench run` asks of its own cells: the cheap checks where they are wanted, and one that no run passes over."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.cli import devices
from bench.cli.common import notice, say
from bench.cli.request import RunRequest
from bench.errors import BenchError
from bench.evaluation.gate import REPEATED
from bench.lazy import lazily
from bench.soundness.files import write_verdicts
from bench.soundness.verdicts import Verdict, Verdicts

with lazily():
    from bench.evaluation import workbench
    from bench.soundness import cheap, checklist, records, stored

if TYPE_CHECKING:
    from bench.cards.catalog import Catalog
    from bench.evaluation.engine import CellDone
    from bench.evaluation.store import Store


def check_cheaply(cards: "Catalog", store: "Store", done: "Sequence[CellDone]", request: RunRequest) -> None:
    """Keep what the cells of this run say, and what cheap probes of their detectors add; tell of what is amiss."""
    cells = {outcome.meta.key: cell for outcome in done if (cell := store.get(outcome.meta.key)) is not None}
    planned = {outcome.meta.key: outcome.planned for outcome in done}
    bench = workbench.Workbench(cards, store, device=devices.resolve_device(request.device), data_dir=request.data_dir)
    found: dict[str, Verdicts] = {}
    for key, made in stored.stored_checks(cells.values(), cards).items():
        try:
            made = cheap.joined(made, cheap.cheap_checks(planned[key], cells[key], bench))  # noqa: PLW2901 - the same, more
        except BenchError as error:
            say(f"notice: {planned[key].label} is checked by stored cells alone: {error}")
        found[key] = write_verdicts(store.root, made, notice)
        for finding in found[key].findings:
            if finding.verdict in (Verdict.WARN, Verdict.FAIL):
                say(f"{finding.verdict} {finding.check}, {planned[key].label}: {finding.found} Next: {finding.advice}")
    if found:
        count = checklist.checks_made(found)
        say(f"{count} checks were made of each attack; `bench diagnose` makes those that cost more.")


def check_repeated(store: "Store", done: "Sequence[CellDone]") -> None:
    """Keep beside the cells what no run may pass over: that a score which declares no randomness is random."""
    random = [one for one in done if one.meta.statuses and (one.meta.asked_twice or 0.0) > REPEATED]
    if not random:
        return
    for one in random:
        finding = records.same_twice({"asked_twice": one.meta.asked_twice or 0.0})
        write_verdicts(store.root, Verdicts(key=one.meta.key, findings=(finding,)), notice)
        say(f"{finding.verdict} {finding.check}, {one.planned.label}: {finding.found} Next: {finding.advice}")
