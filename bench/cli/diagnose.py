"""`bench diagnose`: whether an attack on a detector can be believed, as a checklist."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from bench.cards.threat import Goal, Loss, Side
from bench.cli import devices
from bench.cli.common import FAILED, WorkspaceOption, catalog, console, notice, say
from bench.cli.options import OodOption, WithoutOption, comma_separated, set_names
from bench.cli.places import OutOption, written_store
from bench.cli.request import RunRequest, read_request
from bench.errors import UsageError
from bench.files import write_file
from bench.lazy import lazily

with lazily():
    from bench.cli import progress
    from bench.evaluation import engine, plan, workbench
    from bench.report import numbers
    from bench.soundness import controls, diagnose, files, suites, verdicts

if TYPE_CHECKING:
    from bench.cards.catalog import Catalog
    from bench.evaluation.plan import PlannedCell
    from bench.evaluation.results import CellMeta
    from bench.evaluation.store import Store
    from bench.soundness.controls import Outcome
    from bench.soundness.diagnose import Diagnosis
    from bench.soundness.verdicts import Finding

EXAMPLES = (
    "bench diagnose --detector msp --threat pgd-l2 --eps 1",
    "bench diagnose --detector gat --threat pgd-linf --eps 8/255 --limit 100 --json gat.json",
    "bench diagnose --detector odin --threat pgd-l2 --eps 1 --side both",
    "bench diagnose --detector msp --threat pgd-l2 --eps 1 --side fool",
    "bench diagnose --detector gat --threat auto-l2 --eps 1 --limit 100",
    "bench diagnose --controls",
)

_STYLES = {"FAIL": "bold red", "WARN": "yellow", "PASS": "green", "INFO": "cyan", "SKIPPED": "dim"}
_WIDTH = 140


def command(
    *,
    detector: Annotated[str | None, typer.Option(help="One detector by name, or NAME.VARIANT.")] = None,
    threat: Annotated[str | None, typer.Option(help="One threat with gradients; pgd-l2 where none is named.")] = None,
    eps: Annotated[str | None, typer.Option(help="One radius in [0,1] pixel units, such as 1 or 8/255.")] = None,
    track: Annotated[str | None, typer.Option(help="One track; digits where none is named.")] = None,
    ood: OodOption = None,
    without: WithoutOption = None,
    side: Annotated[
        Side | None, typer.Option(help="evade (the default), alarm, both (each by itself), or fool.")
    ] = None,
    goal: Annotated[Goal | None, typer.Option(help="What side 'fool' has to reach; misclassify unless given.")] = None,
    loss: Annotated[Loss | None, typer.Option(help="What directs gradients on side 'fool'; as in `bench run`.")] = None,
    limit: Annotated[int | None, typer.Option(help="The most images of each set; else the track's own limit.")] = None,
    micro_batch: Annotated[
        int | None, typer.Option(help="Images a pass, padded to it; else the detector card's, or by the images' size.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the attack; 0 where none is given.")] = None,
    restarts: Annotated[int | None, typer.Option(help="Starts, in place of the card's.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of a start, in place of the card's.")] = None,
    step_size: Annotated[float | None, typer.Option(help="Step size in units of eps, in place of the card's.")] = None,
    early_stop: Annotated[
        bool | None,
        typer.Option("--early-stop/--no-early-stop", help="Stop an image once no rank can change (the default)."),
    ] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Instead: whether the checks find out the controls (D18).")
    ] = False,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the findings to this file too.")] = None,
    device: Annotated[str | None, typer.Option(help="auto (the default), cpu, cuda, cuda:1 or mps.")] = None,
    workspace: WorkspaceOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data files; else ROBUSTOOD_DATA or a cache.")] = None,
    out: OutOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only the checklist and errors.")] = False,
) -> None:
    """Check an attack: is its figure strong, converged, and made of gradients that can be used?

    Computes the cell unless the store of --out holds it, then spends at most four times its cost on checks. Exit
    code: 0 without a FAIL, 1 with one, 2 for a request that is wrong.
    """
    where = {"device": device, "workspace": workspace, "data_dir": data_dir, "out": out}
    what = {
        "detector": comma_separated([detector]) if detector else None,
        "threat": comma_separated([threat]) if threat else None, "eps": [eps] if eps else None,
        "track": comma_separated([track]) if track else None, "ood": set_names(ood), "without": set_names(without),
        "side": side, "goal": goal, "loss": loss, "limit": limit, "micro_batch": micro_batch,
        "seed": seed, "restarts": restarts, "steps": steps, "step_size": step_size,
        "early_stop": early_stop,
    }  # fmt: skip
    if not controls:
        raise typer.Exit(_one(read_request({**where, **what}), json_, quiet=quiet))
    if given := [name.replace("_", "-") for name, value in what.items() if value is not None]:
        raise UsageError(f"--controls chooses the attack itself; leave --{given[0]} out.")
    raise typer.Exit(_controls(where, json_, quiet=quiet))


def _one(request: RunRequest, file: Path | None, *, quiet: bool) -> int:
    cards = catalog(request.workspace)
    planned = _planned(request, cards)
    meta, diagnosis = _diagnosed(request, cards, planned, quiet=quiet)
    _print_checklist(planned, meta, diagnosis)
    if file is not None:
        _write_json(file, _as_json(meta, diagnosis))
    return FAILED if diagnosis.verdicts.failed else 0


def _planned(request: RunRequest, cards: "Catalog") -> "PlannedCell":
    """The one cell of the request, which the checks must be about.

    Raises:
        UsageError: It asks for none or for several, or the checks are not about such a cell.
    """
    for name, values in (("detector", request.detector), ("threat", request.threat), ("track", request.track)):
        if len(values) != 1:
            raise UsageError(f"--{name} names {len(values)}; `bench diagnose` is about one cell: give one {name}.")
    diagnose.check_diagnosable(cards.threat(request.threat[0]), request.side)
    cells = plan.plan(
        cards,
        request.detector,
        request.threat,
        request.eps or None,
        request.track,
        seed=request.seed,
        limit=request.limit,
        micro_batch=request.micro_batch,
        side=request.side,
        goal=request.goal,
        loss=request.loss,
        overrides=request.overrides(),
        early_stop=request.early_stop,
        data_dir=request.data_dir,
        sets=request.sets(),
    )
    attacks = [cell for cell in cells if cell.threat.name == request.threat[0] and cell.clean is not None]
    if len(attacks) > 1:
        radii = ", ".join(f"{cell.ingredients.eps:g}" for cell in attacks)
        raise UsageError(f"there are {len(attacks)} radii ({radii}); `bench diagnose` is about one: give one --eps.")
    return attacks[0]


def _diagnosed(
    request: RunRequest, cards: "Catalog", planned: "PlannedCell", *, quiet: bool
) -> "tuple[CellMeta, Diagnosis]":
    """Compute the cell where it is not stored, check it, and keep the verdicts beside it."""
    with written_store(request.out) as store:
        return _diagnosed_in(store, request, cards, planned, quiet=quiet)


def _diagnosed_in(
    store: "Store", request: RunRequest, cards: "Catalog", planned: "PlannedCell", *, quiet: bool
) -> "tuple[CellMeta, Diagnosis]":
    device = devices.resolve_device(request.device)
    needed = [cell for cell in (planned.clean, *planned.needs, planned) if cell is not None]
    missing = [cell for cell in needed if store.meta(cell.key) is None]
    keys: dict[str, str] = {}
    with progress.RunProgress(console(stderr=True), missing, quiet=quiet) as shown:
        for outcome in engine.run_plan(
            needed,
            store,
            cards,
            device=device,
            data_dir=request.data_dir,
            progress=shown.watch,
            fitting=shown.fitting,
        ):
            shown.finished(outcome)
            if not isinstance(outcome, engine.CellFailure):
                keys[outcome.planned.key] = outcome.meta.key
            elif outcome.planned.key == planned.key or not planned.needs:
                raise outcome.error
    cell = store.get(keys.get(planned.key, planned.key))
    if cell is None:
        raise UsageError(f"the cell is gone from '{store.name}'; does something else clear it?")
    asked = cell.meta
    if planned.threat.members:
        parts = {key: part for key, stored in keys.items() if (part := store.get(stored)) is not None}
        planned, cell = suites.as_one_attack(planned, cell, parts)
    bench = workbench.Workbench(cards, store, device=device, data_dir=request.data_dir)
    others = _others(store, asked)
    said: set[str] = set()

    def tell(check: str, share: float) -> None:
        if not quiet and check not in said:
            said.add(check)
            say(f"{check} ({share:.0%})")

    diagnosis = diagnose.diagnose(planned, cell, others, bench, cards, device=device, tell=tell)
    files.write_verdicts(store.root, diagnosis.verdicts, notice)
    return asked, diagnosis


def _others(store: "Store", meta: "CellMeta") -> "list[Any]":
    """Further attacks on the same detector that are stored."""
    same = [
        other.key
        for other in store.metas()
        if other.key != meta.key
        and other.statuses
        and (other.detector_hash, other.weights_sha256, other.track, other.limit, other.without)
        == (meta.detector_hash, meta.weights_sha256, meta.track, meta.limit, meta.without)
    ]
    return [cell for key in same if (cell := store.get(key)) is not None]


def _print_checklist(planned: "PlannedCell", meta: "CellMeta", diagnosis: "Diagnosis") -> None:
    out = console()
    if not out.is_terminal:
        out.width = max(out.width, _WIDTH)
    findings = diagnosis.verdicts.findings
    out.print(f"{planned.label}, side {meta.side}: {_figures(meta)}", soft_wrap=True)
    table = Table("check", "verdict", "what was found", "what to try next", show_lines=False, pad_edge=False)
    for finding in findings:
        side = f" ({finding.side})" if finding.side is not None and meta.side is Side.BOTH else ""
        table.add_row(
            f"{finding.check} {finding.title}{side}",
            Text(finding.verdict, style=_STYLES[finding.verdict]),
            finding.found,
            finding.advice,
        )
    out.print(table)
    for standing in diagnosis.standings:
        out.print(f"{standing.side}: {standing}", soft_wrap=True)
    counts = ", ".join(f"{verdicts.count(findings, v)} {v}" for v in verdicts.Verdict if verdicts.count(findings, v))
    times = diagnosis.cost / max(diagnosis.cell_cost, 1.0)
    out.print(
        f"{counts}; extra runs on up to {diagnosis.images} images a set: {times:.1f} times the cell's gradients and "
        f"scores, {numbers.seconds(diagnosis.seconds)} s (the cell: {numbers.seconds(meta.seconds)} s)",
        soft_wrap=True,
    )


def _figures(meta: "CellMeta") -> str:
    if meta.fool is None:
        return f"AUROC {numbers.clean_auroc(meta.mean)} clean, {numbers.attacked_auroc(meta.mean)} attacked"
    at = meta.fool.curve[-1]
    return (
        f"of {meta.fool.attacked} images that are classified rightly, {numbers.share(at.misclassified)} misclassified, "
        f"{numbers.share(at.undetected)} of them undetected"
    )


def _as_json(meta: "CellMeta", diagnosis: "Diagnosis") -> dict[str, Any]:
    return {
        "cell": meta.key, "detector": meta.detector, "threat": meta.threat, "norm": meta.norm, "eps": meta.eps,
        "side": meta.side, "track": meta.track, "limit": meta.limit, "seed": meta.seed,
        "failed": list(diagnosis.verdicts.failed),
        "findings": [finding.model_dump(mode="json") for finding in diagnosis.verdicts.findings],
        "standing": [
            {**asdict(standing), "side": str(standing.side), "excess": standing.excess}
            for standing in diagnosis.standings
        ],
        "images": diagnosis.images, "cell_cost": diagnosis.cell_cost, "cost": diagnosis.cost,
        "cell_seconds": meta.seconds, "seconds": diagnosis.seconds,
    }  # fmt: skip


def _controls(options: Mapping[str, Any], file: Path | None, *, quiet: bool) -> int:
    """Diagnose every control and print which checks each of them trips."""
    outcomes: dict[str, controls.Outcome] = {}
    for name in controls.names():
        request = read_request({**options, **controls.ATTACK, "detector": [name]})
        cards = catalog(request.workspace)
        meta, diagnosis = _diagnosed(request, cards, _planned(request, cards), quiet=quiet)
        outcomes[name] = controls.Outcome(meta, diagnosis.verdicts)
    finding = controls.controls_found_out(outcomes)
    _print_controls(outcomes, finding)
    if file is not None:
        details = {name: outcome.verdicts.model_dump(mode="json") for name, outcome in outcomes.items()}
        _write_json(file, {"finding": finding.model_dump(mode="json"), "controls": details})
    return 0 if finding.verdict == "PASS" else FAILED


def _print_controls(outcomes: "Mapping[str, Outcome]", finding: "Finding") -> None:
    out = console()
    if not out.is_terminal:
        out.width = max(out.width, _WIDTH)
    table = Table("detector", "attacked AUROC", "must trip", "trips", "FAIL", pad_edge=False)
    for name, outcome in outcomes.items():
        table.add_row(
            name,
            numbers.attacked_auroc(outcome.meta.mean),
            " ".join(controls.TRIPS.get(name, ("no FAIL",))),
            " ".join(outcome.tripped),
            " ".join(outcome.verdicts.failed),
        )
    out.print(table)
    out.print(Text(f"D18 {finding.verdict}: {finding.found}", style=_STYLES[finding.verdict]))


def _write_json(file: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_file(file, text.encode(), remedy="choose another file (--json)")
