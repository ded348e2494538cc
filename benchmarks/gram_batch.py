"""What batching is worth to the Gram score: one batch against a loop over single images of the textbook form.

The textbook form makes the (C, C) matrix of every layer and order of one image at a time, as the paper on attacks of
OOD detectors had to. Prints a table; needs no file that does not ship.

    python benchmarks/gram_batch.py [--images 256] [--repeats 5]
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from bench.cards.catalog import Catalog
from bench.datasets.track import Track
from bench.detectors.gram import Gram
from bench.detectors.gram_sums import SMALLEST_BOUND, ClassRanges
from bench.detectors.loading import load_for_training


def main() -> None:
    """Time both, compare both, print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256, help="size of the batch")
    parser.add_argument("--repeats", type=int, default=5, help="the fastest of so many runs counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    detector, images = fitted_on_digits(options.images)
    with torch.no_grad():
        exact = textbook_scores(detector, images, precise=True)
        batched, loop = detector.score(images), textbook_scores(detector, images)
        batch_time = fastest(lambda: detector.score(images), options.repeats) / len(images)
        loop_time = fastest(lambda: textbook_scores(detector, images), 2) / len(images)
    step_time = fastest(lambda: gradient_step(detector, images), options.repeats) / len(images)
    print(f"gram on digits, orders 1 to {detector.orders}, {len(images)} images, one thread")
    print(f"{'form':<34}{'ms an image':>12}{'speed':>8}{'largest relative error':>24}")
    for form, seconds, scores in (
        ("textbook, image by image", loop_time, loop),
        ("row sums, one batch", batch_time, batched),
        ("row sums and gradient, one batch", step_time, batched),
    ):
        print(f"{form:<34}{1e3 * seconds:>12.3f}{loop_time / seconds:>7.1f}x{relative_error(scores, exact):>24.1e}")


def fitted_on_digits(count: int) -> tuple[Gram, Tensor]:
    """The detector fitted on the embedded track, and images of its test set."""
    catalog = Catalog.find()
    card = catalog.track("digits")
    track = Track(card)
    detector = load_for_training(catalog.detector_spec("gram", "digits"), card, catalog)
    assert isinstance(detector, Gram)
    detector.eval().requires_grad_(False).fit(track.training_data())
    pixels = torch.cat([track.set(name).pixels() for name in ("test", "letters", "photos")])
    return detector, pixels[torch.linspace(0, len(pixels) - 1, count).long()]


def textbook_scores(detector: Gram, images: Tensor, precise: bool = False) -> Tensor:
    """(N,) the score by its definition, one image at a time.

    `precise` goes on in float64 from the activations of the batch: float32 convolutions of one image alone differ in
    the last places from those of a batch, which is not what is compared here.
    """
    assert detector.network is not None
    if precise:
        batch = detector.network.activations(images)
        every = [{name: values[i : i + 1].double() for name, values in batch.items()} for i in range(len(images))]
        return torch.stack([textbook_score(detector, activations) for activations in every])
    return torch.stack([textbook_score(detector, detector.network.activations(image[None])) for image in images])


def textbook_score(detector: Gram, activations: dict[str, Tensor]) -> Tensor:
    """The score of one image: a (C, C) matrix for every layer and order, and its rows' sums."""
    assert detector.network is not None
    probabilities = activations["logits"].softmax(dim=1)[0]
    label = int(probabilities.argmax())
    score = probabilities.new_zeros(())
    names = (name for name in detector.network.layers if name != "logits")
    for name, ranges, expected in zip(names, detector.ranges, detector.expected, strict=True):
        assert isinstance(ranges, ClassRanges)
        features = activations[name][0].reshape(activations[name].shape[1], -1)
        for order in range(1, detector.orders + 1):
            powers = features**order
            sums = (powers @ powers.T).sum(dim=1)
            values = sums.sign() * sums.abs() ** (1 / order)
            lower, upper = ranges.lower[label, order - 1], ranges.upper[label, order - 1]
            floor = ranges.floor * torch.maximum(lower.abs(), upper.abs()).max()
            below, above = ((bound.abs() + SMALLEST_BOUND).clamp_min(floor) for bound in (lower, upper))
            score = score - (torch.relu(lower - values) / below).sum() / expected
            score = score - (torch.relu(values - upper) / above).sum() / expected
    return score / probabilities[label] if detector.confidence else score


def gradient_step(detector: Gram, images: Tensor) -> Tensor:
    """What a step of an attack costs: the score and its gradient."""
    leaf = images.clone().requires_grad_(True)
    return torch.autograd.grad(detector.score(leaf).sum(), leaf)[0]


def relative_error(scores: Tensor, exact: Tensor) -> float:
    """The largest error relative to the exact score; where that is 0, relative to the median."""
    size = torch.where(exact == 0, exact.abs().median(), exact.abs())
    return float(((scores.double() - exact).abs() / size).max())


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
