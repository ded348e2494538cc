"""What a step of an attack costs beside the network: against the bare loop, paired in one process.

The bare loop is what is left of an attack without its guarantees: the gradient of the objective by frozen parameters,
its sign or its direction, a step, and the textbook's projection (onto the ball, then onto the box). Both see the same
images in the same batches with no early stop; they take turns, and the median over the turns of their ratio counts, in
processor time. Foolbox and torchattacks (for APGD: torchattacks and adv-lib), where they are installed,
take as many steps on the same objective. A query of
Square is held against a forward pass. Waits are what a GPU would be idle for (see `waits.py`), a micro-batch and step.

Detectors of CIFAR-10 need its files (`ROBUSTOOD_DATA`) and weights (`ROBUSTOOD_WEIGHTS`); what is absent is left out.

    python benchmarks/step.py --cases digits:energy mnist:gat --threats pgd-l2 square-linf --out step.json
"""

import argparse
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from waits import Waits

from bench.cards.catalog import Catalog
from bench.cards.code.methods import import_method
from bench.cards.threat import Norm, Side
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.errors import BenchError
from bench.threat_models.base import Budget, Context, Threat
from bench.threat_models.wanted import THREAT

SMALL = tuple(f"{track}:{name}" for track in ("digits", "mnist") for name in ("energy", "msp", "gat", "odin"))
CASES = (
    *SMALL, "digits:mahalanobis", "mnist:mahalanobis", "cifar10:energy@resnet20", "cifar10:odin@resnet20",
    "cifar10:mahalanobis@resnet20", "cifar10:energy@densenet",
)  # fmt: skip
THREATS = ("pgd-l2", "pgd-linf", "apgd-l2", "square-l2", "square-linf")
EPS = {Norm.L2: 1.0, Norm.LINF: 8 / 255}

Work = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One detector and what is attacked.

    Attributes:
        name: `track:detector`.
        detector: Frozen.
        x: (N, C, H, W) images.
        micro_batch: Images a pass.
        steps: Of every attack.
    """

    name: str
    detector: Detector
    x: Tensor
    micro_batch: int
    steps: int


def main() -> None:
    """A line a case and threat, and all of it as JSON."""
    options = arguments()
    torch.set_num_threads(1)
    rows = []
    for name in options.cases:
        try:
            case = make_case(name, options)
        except BenchError as error:
            print(f"{name:<30} left out: {error}")
            continue
        for threat in options.threats:
            row = measure(case, threat, options.repeats)
            rows.append(row)
            print(line(row), flush=True)
    if options.out is not None:
        text = json.dumps({"machine": machine(), "rows": rows}, indent=1)
        options.out.write_text(text + "\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), metavar="TRACK:DETECTOR")
    parser.add_argument("--threats", nargs="+", default=list(THREATS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=100, help="of every attack, from one start")
    parser.add_argument("--batches", type=int, default=1, help="micro-batches of images")
    parser.add_argument("--repeats", type=int, default=9, help="turns, of which the median counts")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    return parser.parse_args()


def make_case(name: str, options: argparse.Namespace) -> Case:
    """Load a detector and the first images of the track's first OOD set."""
    track_name, detector_name = name.split(":", 1)
    catalog = Catalog.find()
    card = catalog.track(track_name)
    spec = catalog.detector_spec(detector_name, card.name)
    track, micro_batch = Track(card), spec.micro_batch or 128
    detector = load_detector(spec, card, catalog)
    count = micro_batch * options.batches
    x = track.set(next(iter(card.ood))).pixels()[:count]
    x = x.repeat(-(-count // len(x)), 1, 1, 1)[:count]
    if spec.fit_when_loaded:  # how good its statistics are makes no step slower
        data = track.training_data()
        detector.fit(replace(data, train=data.train.limited(2000)))
    steps = options.steps if track_name != "cifar10" else max(4, options.steps // 5)
    return Case(name, detector, x, micro_batch, steps)


def measure(case: Case, threat_name: str, repeats: int) -> dict[str, object]:
    """Costs of one threat relative to its floor."""
    card = Catalog.find().threat(threat_name)
    norm = card.norm
    assert norm is not None
    black_box = "square" in threat_name
    steps = case.steps
    params = {"restarts": 1, **({"queries": steps} if black_box else {"steps": steps})}
    method = import_method(card.method, None, THREAT)
    threat: Threat = method(method.Params(**{**card.params, **params}))
    works: dict[str, Work] = {
        "bare": (lambda: passes(case, steps)) if black_box else (lambda: bare(case, norm, steps)),
        "ours": lambda: attack(case, threat, norm),
    }
    if not black_box:
        works |= dict(peers(case, norm, steps, adaptive="apgd" in threat_name))
    times = paired(works, repeats)
    floor = times["bare"]
    batches = -(-len(case.x) // case.micro_batch)
    return {
        "case": case.name, "threat": threat_name, "steps": steps, "images": len(case.x),
        "bare_ms_a_step": 1e3 * statistics.median(floor) / steps,
        "ratios": {
            name: statistics.median(mine / base for mine, base in zip(taken, floor, strict=True))
            for name, taken in times.items()
            if name != "bare"
        },
        "waits": waits_a_batch(case, threat, norm, steps * batches),
    }  # fmt: skip


def paired(works: dict[str, Work], repeats: int) -> dict[str, list[float]]:
    """Seconds of processor time of every work in every turn; the first turn warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.process_time()
            work()
            if turn > 0:
                times[name].append(time.process_time() - start)
    return times


def attack(case: Case, threat: Threat, norm: Norm) -> object:
    """Ours, with all that it keeps and checks."""
    context = Context(Side.EVADE, micro_batch=case.micro_batch)
    ids = torch.arange(len(case.x))
    return threat.run(case.detector, case.x, ids=ids, budget=Budget(norm, EPS[norm]), context=context)


def bare(case: Case, norm: Norm, steps: int) -> Tensor:
    """The loop of every tutorial, with frozen parameters."""
    eps = EPS[norm]
    found = []
    for x in case.x.split(case.micro_batch):
        y = x
        for _ in range(steps):
            leaf = y.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(case.detector.objective(leaf).sum(), leaf)
            if norm is Norm.LINF:
                y = x + (y + 0.1 * eps * gradient.sign() - x).clamp(-eps, eps)
            else:
                delta = y + 0.1 * eps * gradient / lengths(gradient).clamp(min=1e-12) - x
                y = x + delta * (eps / lengths(delta).clamp(min=1e-12)).clamp(max=1.0)
            y = y.clamp(0.0, 1.0)
        found.append(y)
    return torch.cat(found)


def passes(case: Case, steps: int) -> None:
    """Scores of as many images, and nothing else."""
    with torch.no_grad():
        for x in case.x.split(case.micro_batch):
            for _ in range(steps):
                case.detector.score(x)


def lengths(rows: Tensor) -> Tensor:
    """(N, 1, 1, 1) L2 norms."""
    return torch.linalg.vector_norm(rows.flatten(1), dim=1).view(-1, 1, 1, 1)


def peers(case: Case, norm: Norm, steps: int, *, adaptive: bool) -> Iterator[tuple[str, Work]]:
    """PGD or APGD of the libraries that are installed; they take all images at once, as they do."""
    if importlib.util.find_spec("foolbox") is None:
        return
    import attack_peers

    for library in ("torchattacks", "adv_lib") if adaptive else ("foolbox", "torchattacks"):
        if importlib.util.find_spec(library) is None:
            continue
        make = getattr(attack_peers, f"{library}_apgd" if adaptive else f"{library}_pgd")
        size = {} if adaptive else {"step_size": 0.1 * EPS[norm]}
        one_start = make(case.detector, norm, EPS[norm], steps, **size)
        yield library, lambda one_start=one_start: [one_start(x) for x in case.x.split(case.micro_batch)]


def waits_a_batch(case: Case, threat: Threat, norm: Norm, batches: int) -> float:
    """Waits for the device, all of the attack's, by its passes."""
    with Waits() as waits:
        attack(case, threat, norm)
    return waits.total / batches


def line(row: dict[str, object]) -> str:
    """For people."""
    ratios = row["ratios"]
    assert isinstance(ratios, dict)
    told = "  ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios.items())
    return f"{row['case']:<30} {row['threat']:<12} {row['bare_ms_a_step']:7.2f} ms  {told}  waits {row['waits']:.2f}"


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo")
    models = [row.split(":", 1)[1].strip() for row in info.read_text().splitlines() if "model name" in row] \
        if info.exists() else []  # fmt: skip
    return {
        "processor": models[0] if models else platform.processor(), "cores": len(models), "threads": 1,
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
