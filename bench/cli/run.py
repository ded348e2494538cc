"""`bench run`: attack detectors, keep the cells, print a table a track."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cards.threat import Goal, Loss, Side
from bench.cli.common import FAILED, USAGE, WorkspaceOption, catalog, console, notice, printable, say
from bench.cli.failures import may_be_left_out, say_failures, say_left_out
from bench.cli.options import OodOption, WithoutOption, comma_separated, set_names
from bench.cli.places import OutOption, written_store
from bench.cli.planning import lacks, planned_cells
from bench.cli.request import EngineName, RunRequest, read_request
from bench.cli.table import print_table
from bench.detectors.precision import Precision
from bench.lazy import lazily

with lazily():
    from bench.cli import computing, run_checks
    from bench.evaluation import engine
    from bench.report import accuracy, closing, radii, table
    from bench.soundness import files

if TYPE_CHECKING:
    from bench.cards.catalog import Catalog
    from bench.evaluation.engine import CellDone
    from bench.evaluation.plan import PlannedCell
    from bench.evaluation.store import Store

EXAMPLES = (
    "bench run --detector gat --threat pgd-l2 --eps 10",
    "bench run --detector msp,gat --threat clean,pgd-l2,pgd-linf --eps l2:0.5,1 --eps linf:8/255",
    "bench run --detector gat,energy --threat auto-l2 --eps 1",
    "bench run --detector gat --track digits --suite",
    "bench run --detector sdim --threat pgd-l2 --side fool --goal misclassify-and-accept --eps 1.5",
    "bench run --detector callable:my_model:score --threat pgd-l2,noise-l2 --eps 1",
    "bench run --detector gat --threat pgd-l2 --eps 1 --side both --limit 50 --steps 20 --restarts 1",
    "bench run --detector gat --threat pgd-l2 --eps 1 --without letters",
    "bench run --detector energy,gat --threat pgd-l2 --eps 0.5,1 --tolerance 0.0005 --audit 0.2",
    "bench run --detector energy,gat --threat pgd-l2 --eps 0.5,1 --no-evidence",
    "bench run --detector gat,energy,odin --threat pgd-l2 --shard 1/4 --out /shared/runs",
    "bench run --detector gat,energy,odin --threat pgd-l2 --out s3://my-bucket/runs",
    "bench run --detector all --threat auto-l2 --eps 1 --engine ray --address auto --out /shared/runs",
    "bench run --detector energy,knn,vim --network my-net --track my-track --threat clean,pgd-linf",
    "bench run --detector gat,msp --threat pgd-l2,noise-l2,square-l2 --eps 1 --diagnose",
)


def command(
    *,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            help="Detectors by name, NAME.VARIANT, SCORE@NETWORK, wildcard, 'all-scores' or 'all'; repeatable or "
            "commas. Without a card: pytorch-ood:DETECTOR, or what is run as a program: "
            "callable:package.module:function, file:PATH."
        ),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="What scores stand on, as if @NETWORK were added to each; else the track's own.")
    ] = None,
    threat: Annotated[list[str] | None, typer.Option(help="Threats; pgd-l2 where none is named.")] = None,
    eps: Annotated[
        list[str] | None,
        typer.Option(help="Radii in [0,1] pixel units: 1, 8/255, l2:0.5,1 or linf:4/255; else those of the cards."),
    ] = None,
    track: Annotated[list[str] | None, typer.Option(help="Tracks; digits where none is named.")] = None,
    suite: Annotated[
        bool | None,
        typer.Option(
            "--suite", help="What a row of the leaderboard needs: threats, radii, images and sets of the track's card."
        ),
    ] = None,
    ood: OodOption = None,
    without: WithoutOption = None,
    side: Annotated[
        Side | None,
        typer.Option(
            help="Attacked images: evade (OOD to look ID), alarm (ID to look OOD), both, fool (ID to be misclassified) "
            "or between (paths from ID to ID); else the threat's own side, mostly evade."
        ),
    ] = None,
    goal: Annotated[
        Goal | None, typer.Option(help="Of side fool: misclassify (the default), or be accepted too.")
    ] = None,
    loss: Annotated[
        Loss | None, typer.Option(help="Of side fool: what directs gradients; else margin, or joint to be accepted.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="The most images of each set; else the track's own limit.")] = None,
    micro_batch: Annotated[
        int | None, typer.Option(help="Images a pass, padded to it; else the detector card's, or by the images' size.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the attacks; 0 where none is given.")] = None,
    restarts: Annotated[
        int | None, typer.Option(help="Starts (the clean image, then random ones), in place of the card's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of a start, in place of the card's.")] = None,
    step_size: Annotated[float | None, typer.Option(help="Step size in units of eps, in place of the card's.")] = None,
    early_stop: Annotated[
        bool | None,
        typer.Option("--early-stop/--no-early-stop", help="Stop an image once no rank can change (the default)."),
    ] = None,
    evidence: Annotated[
        bool | None,
        typer.Option(
            "--evidence/--no-evidence",
            help="Spend the whole budget on an audited share of the images, and on the others what that shows to be "
            "enough (the default); or the whole budget on all.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="How far the AUROC of a cheaper attack may lie from the full budget's, by the audit; 0.001."),
    ] = None,
    audit: Annotated[
        float | None,
        typer.Option(
            help="Largest share of each set's images that is audited; 0.1, and at least 20 images."
            " Smaller ones are tried before."
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Arithmetic of the first half of an attack's steps, on a copy that agrees with the detector: float32 "
            "(the default: no copy), tf32, bf16 or auto. Scores are always float32, of the detector itself."
        ),
    ] = None,
    compile_copy: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile that copy, which takes a minute; off.")
    ] = None,
    nested: Annotated[
        bool | None,
        typer.Option(
            "--nested/--no-nested",
            help="Let attacks by gradients at several radii go on from the best points of the next smaller one, so "
            "that no image gets harder to attack as the radius grows; off.",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto (the default), cpu, cuda, cuda:1 or mps.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes, one thread each; as many as there are cores where none is named, 1 on a GPU."),
    ] = None,
    engine: Annotated[
        EngineName | None, typer.Option(help="Where to compute: local processes (the default), or ray, a cluster.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster: auto, HOST:6379; without it one is started here."),
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(help="The part of a GPU that each process on Ray takes; 1 on a CUDA device.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="I/N: every N-th cell from the I-th on, for N commands that share one --out.")
    ] = None,
    workspace: WorkspaceOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of data files; else ROBUSTOOD_DATA or a cache.")] = None,
    out: OutOption = None,
    grid: Annotated[Path | None, typer.Option(help="YAML file of these options; the command line wins.")] = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Check the cells for soundness, as far as that is cheap.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only tables, notices and errors.")] = False,
) -> None:
    """Attack detectors on tracks and print how much AUROC is left.

    Clean scores are always computed too. A cell that the store of --out holds is not computed again.
    """
    given = {name: value for name, value in locals().items() if name not in OWN_OPTIONS}
    raise typer.Exit(execute(asked(given), quiet=quiet, diagnose=diagnose))


OWN_OPTIONS = ("diagnose", "quiet")
"""The options that say nothing of what is to be computed; `bench plan` takes all others."""


def asked(given: Mapping[str, Any]) -> RunRequest:
    """The request of the options on a command line, by the names of the arguments of `command`."""
    options = {name: value for name, value in given.items() if name != "grid"}
    options |= {name: comma_separated(given[name]) or None for name in ("detector", "threat", "track")}
    options |= {name: set_names(given[name]) for name in ("ood", "without")}
    return read_request(options, given["grid"])


def execute(request: RunRequest, *, quiet: bool, diagnose: bool) -> int:
    """Run a request, print tables and failures, and give the exit code.

    Args:
        request: What to run.
        quiet: Say nothing meanwhile.
        diagnose: Check the cells for soundness.

    Raises:
        UsageError: A name, radius or device is wrong, or nothing can be stored.
    """
    cards = catalog(request.workspace)
    planned = planned_cells(request, cards)
    with written_store(request.out) as store:
        return _executed(request, cards, planned, store, quiet=quiet, diagnose=diagnose)


def _executed(
    request: RunRequest, cards: "Catalog", planned: "list[PlannedCell]", store: "Store", *, quiet: bool, diagnose: bool
) -> int:
    outcomes = computing.compute_cells(
        cards,
        store,
        planned,
        device=request.device,
        data_dir=request.data_dir,
        quiet=quiet,
        hands=request.hands(),
    )
    done = [outcome for outcome in outcomes if isinstance(outcome, engine.CellDone)]
    failures = [outcome for outcome in outcomes if not isinstance(outcome, engine.CellDone)]
    needless = [failure for failure in failures if done and may_be_left_out(request, failure)]
    failures = [failure for failure in failures if failure not in needless]
    if diagnose:
        run_checks.check_cheaply(cards, store, done, request)
    else:
        run_checks.check_repeated(store, done)
    closing = _print_tables(request, cards, store, done)
    for sentence in store.notices:
        notice(sentence)
    for sentence in _inaccurate(done):
        say(f"notice: {sentence}")
    say_left_out(needless)
    found_out = {
        one.planned.label: {n: why for n, why in one.meta.left_out.items() if n not in one.planned.left_out}
        for one in done
    }
    for sentence in lacks(found_out):
        say(f"notice: {sentence}")
    incomplete = {one.planned.label: one.meta.failed_needs for one in done if one.meta.failed_needs}
    for sentence in lacks(incomplete):
        say(f"error: {sentence}")
    say_failures(failures)
    stored = sum(outcome.from_store for outcome in done)
    counts = f"{len(done) - stored} computed, {stored} from the store"
    if failures:
        counts += f", {len(failures)} failed"
    if incomplete:
        counts += f", {len(incomplete)} incomplete since parts of them failed"
    console().print(f"{len(done)} cells in '{request.out}': {counts}.", soft_wrap=True)
    for sentence in closing:
        console().print(printable(sentence), soft_wrap=True)
    if incomplete:
        return FAILED
    if not failures:
        return 0
    return USAGE if all(failure.usage for failure in failures) else FAILED


def _inaccurate(done: "Sequence[CellDone]") -> list[str]:
    """A sentence for the detectors whose network classifies few ID images rightly: often a wrong mean or std."""
    found: dict[tuple[str, float], dict[str, None]] = {}
    for meta in (one.meta for one in done):
        if meta.id_accuracy is not None and meta.id_accuracy < accuracy.LOW_ACCURACY:
            found.setdefault((meta.track, meta.id_accuracy), {})[meta.detector] = None
    return [
        f"{', '.join(names)}: the network classifies {share:.1%} of the ID test images of {track} correctly; where it "
        "should be more, look at mean and std in its card, and at the order of the classes."
        for (track, share), names in found.items()
    ]


def _print_tables(request: RunRequest, cards: "Catalog", store: "Store", done: "Sequence[CellDone]") -> list[str]:
    """Print a table a track, and give the sentences that say what they come to."""
    out = console()
    failed = files.failed_checks(store.root, [outcome.meta.key for outcome in done], notice)
    tables = table.build_tables((outcome.meta for outcome in done), failed)
    for one in tables:
        card = cards.track(one.track)
        reach = radii.radii_for(one, card, root=store.root, data_dir=request.data_dir, workspace=cards.workspace)
        print_table(out, one, radii=reach)
    return closing.closing_sentences(tables)
