"""Run a recipe from the first step, or from where an interrupted run left off, to a safetensors file."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.detectors.base import Progress, silent
from bench.detectors.weights import save_tensors
from bench.errors import WeightsError
from bench.tensor_files import check_header
from bench.training.base import Recipe, seeded

CHECKPOINT_EVERY_S = 20.0
REPORT_EVERY_S = 2.0
EVALUATION_SHARE = 0.05
"""Of the time of a training; an evaluation that takes long is repeated seldom."""


@dataclass(frozen=True)
class TrainingReport:
    """What came of a training.

    Attributes:
        figures: The last step's figures and the recipe's evaluation on held-out data.
        steps: Optimiser steps taken in this run.
        resumed_at: The step at which this run took over, 0 for a fresh one.
        seconds: Wall clock of this run.
        curve: Every so many steps, the step's number, the means of the steps' figures since, and what the recipe
            traces; empty where no curve was asked for.
    """

    figures: dict[str, float]
    steps: int
    resumed_at: int
    seconds: float
    curve: tuple[tuple[int, dict[str, float]], ...] = ()


def train(
    recipe: Recipe, *, checkpoint: Path, identity: str, progress: Progress = silent, curve_every: int = 0
) -> TrainingReport:
    """Take all steps of a recipe; the detector inside it is trained in place.

    A checkpoint is written every few seconds and when the run is interrupted. A run with the same identity goes on
    from it and ends with the same weights as one that was never interrupted.

    Args:
        recipe: The recipe, freshly built.
        checkpoint: Where the state is kept until the run is complete; removed by `discard`.
        identity: Hash of everything the weights depend on; a checkpoint of another identity is not used.
        progress: Called with (step, total, figures).
        curve_every: Steps from one point of the curve to the next; 0 keeps none.
    """
    began = last_saved = last_told = evaluate_at = time.monotonic()
    first = number = _resume(recipe, checkpoint, identity)
    if first == 0:
        _initialise(recipe)
    figures: dict[str, float] = {}
    evaluated: dict[str, float] = {}
    recipe.detector.train()
    curve: list[tuple[int, dict[str, float]]] = []
    since: list[dict[str, float]] = []
    try:
        while number < recipe.total_steps:
            figures = recipe.step(number, seeded(recipe.seed, "step", number))
            number += 1
            if curve_every:
                since.append(figures)
                if number % curve_every == 0 or number == recipe.total_steps:
                    curve.append((number, _means(since) | _evaluated(recipe, recipe.traced)))
                    since = []
            now = time.monotonic()
            if now - last_told > REPORT_EVERY_S:
                if now >= evaluate_at:
                    evaluated = _evaluated(recipe)
                    evaluate_at = time.monotonic() + (time.monotonic() - now) / EVALUATION_SHARE
                last_told = now
                progress(number, recipe.total_steps, _told(figures, evaluated))
            if now - last_saved > CHECKPOINT_EVERY_S:
                _save(recipe, checkpoint, identity, number)
                last_saved = now
    except KeyboardInterrupt:
        _save(recipe, checkpoint, identity, number)
        raise
    recipe.finish(progress)
    evaluated = _evaluated(recipe)
    progress(max(recipe.total_steps, 1), max(recipe.total_steps, 1), _told(figures, evaluated))
    seconds = time.monotonic() - began
    return TrainingReport({**figures, **evaluated}, number - first, first, seconds, tuple(curve))


def discard(checkpoint: Path) -> None:
    """Remove a checkpoint that is no longer needed; a file of another kind under its name stays."""
    if not checkpoint.is_symlink() and _progress(checkpoint) is not None:
        checkpoint.unlink(missing_ok=True)


def _evaluated(recipe: Recipe, figures_of: Callable[[], dict[str, float]] | None = None) -> dict[str, float]:
    recipe.detector.eval()
    figures = (figures_of or recipe.evaluate)()
    recipe.detector.train()
    return figures


def _means(steps: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(step[name] for step in steps) / len(steps) for name in steps[-1]}


def _told(figures: dict[str, float], evaluated: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in {**figures, **evaluated}.items())


def _initialise(recipe: Recipe) -> None:
    """Draw all weights that a recipe trains anew from the recipe's seed, leaving the global generator alone."""
    state = torch.get_rng_state()
    torch.manual_seed(seeded(recipe.seed, "weights").initial_seed())
    try:
        if recipe.total_steps:
            for module in recipe.trained().modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()
    finally:
        torch.set_rng_state(state)


def _save(recipe: Recipe, checkpoint: Path, identity: str, number: int) -> None:
    tensors = {f"detector.{k}": v for k, v in recipe.detector.state_dict().items()}
    tensors |= {f"recipe.{k}": v for k, v in recipe.state().items()}
    told = {"identity": identity, "step": number, "sha256": _content_sha256(tensors)}
    save_tensors(checkpoint, tensors, metadata={"progress": json.dumps(told)})


def _resume(recipe: Recipe, checkpoint: Path, identity: str) -> int:
    """Load a checkpoint of this very training and return its step; 0 where there is none that fits."""
    if not checkpoint.exists():
        return 0
    told = _progress(checkpoint)
    if told is None:
        raise WeightsError(f"checkpoint {checkpoint} is of no training; move it away, or remove it to start afresh.")
    if told.get("identity") != identity:
        return 0
    try:
        with safe_open(checkpoint, framework="pt") as file:
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if told.get("sha256") != _content_sha256(tensors):
            raise ValueError("its content differs from its sha256")
        recipe.detector.load_state_dict(_part(tensors, "detector."))
        recipe.load_state(_part(tensors, "recipe."))
        return int(told["step"])
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"checkpoint {checkpoint} cannot be used ({reason}); remove it to start afresh.") from error


def _progress(checkpoint: Path) -> dict[str, Any] | None:
    """What `_save` wrote into a checkpoint's header; None for a file of another kind, or none."""
    if not checkpoint.is_file():
        return None
    try:
        with checkpoint.open("rb") as opened:
            check_header(opened.read(8), checkpoint.stat().st_size)
        with safe_open(checkpoint, framework="pt") as file:
            told = json.loads((file.metadata() or {})["progress"])
    except (SafetensorError, OSError, ValueError, KeyError):
        return None
    return told if isinstance(told, dict) and "identity" in told else None


def _content_sha256(tensors: dict[str, Tensor]) -> str:
    """sha256 of names, types, shapes and bits."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return digest.hexdigest()


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
