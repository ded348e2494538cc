"""From a published PyTorch checkpoint to safetensors, without ever unpickling code."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.cards.catalog import Catalog
from bench.cards.detector import DetectorSpec
from bench.cards.track import TrackCard
from bench.detectors.checkpoints import State, read_checkpoint
from bench.detectors.loading import build_detector
from bench.detectors.networks.plain import PlainNetwork
from bench.detectors.weights import COUNTER, check_replaceable, check_state, save_tensors, without_cast_counters
from bench.errors import UsageError, WeightsError

PREFIX = "network.network."
"""Where a detector's state holds its network."""

_AVERAGES = "n_averaged"
"""The counter that an average of weights keeps beside them."""


def convert_checkpoint(
    file: Path,
    spec: DetectorSpec,
    track: TrackCard,
    catalog: Catalog,
    *,
    out: Path | None = None,
    key: str | None = None,
) -> tuple[Path, str]:
    """Write the network of a published checkpoint as a weights file of a detector.

    The one state in the checkpoint that fits the card's network is taken, whatever container holds it, and a prefix
    that all its names share is taken off. The batch counters that old checkpoints lack are added; everything else must
    fit exactly.

    Args:
        file: The checkpoint: what `torch.load(..., weights_only=True)` reads, or safetensors.
        spec: The detector whose network it is for.
        track: The track's card.
        catalog: Where weights go.
        out: The file to write; None for the card's first weights file, which must then have the card's sha256.
        key: Below which key the state lies, where several fit: "ema", or "averages.model" for one below another.

    Returns:
        The written file and its sha256.

    Raises:
        WeightsError: The checkpoint cannot be read, does not fit, holds several states that do, or is another than the
            card's.
        UsageError: The card has no network or names no weights file, or `out` is a folder.
    """
    detector = build_detector(spec, track, catalog)
    if detector.network is None:
        raise UsageError(f"detector '{spec.name}' has no network on track '{spec.track}'; there is nothing to convert.")
    if out is None and not spec.weights:
        raise UsageError(f"detector '{spec.name}' names no weights for track '{spec.track}'; add them, or give --out.")
    if out is not None and out.is_dir():
        name = Path(spec.weights[0].file).name if spec.weights else f"{spec.name}.safetensors"
        raise UsageError(f"--out is the folder '{out}' and has to be a file; give one in it: --out {out / name}.")
    states = read_checkpoint(file)
    if key is not None:
        known = ", ".join(state.key for state in states[:10] if state.key) or "none"
        states = [state for state in states if state.key == key]
        if not states:
            raise WeightsError(
                f"checkpoint {file} holds no tensors below the key '{key}'; its keys with some: {known}."
            )
    inside: nn.Module = detector.network.network
    prefix = PREFIX
    if isinstance(inside, PlainNetwork):
        inside, prefix = inside.module, f"{PREFIX}module."
    state = fitted_state(states, inside, f"the weights in {file}")
    tensors = {prefix + name: value for name, value in state.items()}
    if out is not None:
        return out, save_tensors(out, tensors)
    wanted = spec.weights[0]
    target = catalog.weights_dir_for_writing() / wanted.file
    check_replaceable(target, tensors)
    return target, save_tensors(target, tensors, expected_sha256=wanted.sha256)


@dataclass(frozen=True)
class _Candidate:
    """A state without the prefix of its names, and how many of them the network has."""

    state: State
    prefix: str
    tensors: dict[str, Tensor]
    known: int

    @property
    def place(self) -> str:
        """Where it lies, and what was taken off."""
        return self.state.place + (f" with the prefix '{self.prefix}'" if self.prefix else "")


def fitted_state(states: Sequence[State], network: nn.Module, what: str) -> dict[str, Tensor]:
    """The one state that fits, in the network's own types and order.

    Raises:
        WeightsError: None fits the network exactly, or several that differ do.
    """
    expected = network.state_dict()
    # Checkpoints from before PyTorch 0.4.1 lack these counters, which do not enter evaluation.
    counters = {name: value for name, value in expected.items() if name.endswith(COUNTER)}
    candidates = [_candidate(state, expected) for state in states]
    fitting = [c for c in candidates if {*counters, *c.tensors} == set(expected) and _same_shapes(c, expected)]
    if not fitting:
        nearest = max(candidates, key=lambda candidate: candidate.known)
        check_state(expected, {**counters, **nearest.tensors}, f"{what}, found {nearest.place},")
    chosen, *others = fitting
    for other in others:
        if any(not torch.equal(chosen.tensors[name], other.tensors[name]) for name in chosen.tensors):
            raise WeightsError(
                f"{what}: several states fit, one {chosen.place} and another {other.place}; say which by --key."
            )
    complete = without_cast_counters({**counters, **chosen.tensors}, expected)
    _check_kinds(expected, complete, what)
    fitted = {name: complete[name].to(value.dtype) for name, value in expected.items()}
    check_state(expected, fitted, f"{what}, found {chosen.place},")
    return fitted


def _candidate(state: State, expected: Mapping[str, Tensor]) -> _Candidate:
    """The state without the prefix that leaves most names known, if all of its names begin with it."""
    named = {name: value for name, value in state.tensors.items() if name != _AVERAGES}
    votes: Counter[str] = Counter()
    for name in named:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in expected:
                votes["".join(f"{part}." for part in parts[:cut])] += 1
    shared = [prefix for prefix in votes if all(name.startswith(prefix) for name in named)]
    prefix = max(shared, key=lambda each: (votes[each], -len(each)), default="")
    return _Candidate(state, prefix, {n.removeprefix(prefix): value for n, value in named.items()}, votes[prefix])


def _same_shapes(candidate: _Candidate, expected: Mapping[str, Tensor]) -> bool:
    return all(value.shape == expected[name].shape for name, value in candidate.tensors.items())


def _check_kinds(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Raise unless every tensor is a plain one, and of floats where floats are needed."""
    for name, value in expected.items():
        mine = given[name]
        plain = mine.layout is torch.strided and not mine.is_quantized and not mine.is_meta
        if not plain or mine.is_floating_point() != value.is_floating_point() or mine.is_complex():
            kind = str(mine.dtype) if plain else f"{mine.dtype}, and no plain tensor"
            raise WeightsError(
                f"{what} do not fit: {name} is {kind} and must be {value.dtype}; give the float weights."
            )
