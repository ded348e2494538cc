"""Images of another source under the usual corruptions: noise, blur, digital artefacts, light and colour."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from pydantic import Field

from bench.datasets.base import RawImages
from bench.datasets.sources._args import Count, Seed, SourceArgs
from bench.datasets.sources._inner import InnerForm, load_inner
from bench.errors import DataError
from bench.randomness import derive_seed

Kind = Literal[
    "gaussian-noise", "shot-noise", "impulse-noise", "gaussian-blur", "pixelate", "jpeg", "brightness", "contrast",
    "saturate",
]  # fmt: skip
Corruption = Callable[[Image.Image, float, np.random.Generator], Image.Image]


class CorruptedArgs(SourceArgs):
    """Which images, which corruptions and how strong."""

    of: InnerForm  # source and args of the images, as in a set of a card
    start: Annotated[int, Field(ge=0)] = 0  # the first of its images that is taken
    count: Count  # how many images
    severity: Annotated[int, Field(ge=1, le=5)]  # how strong
    # one an image, in turn
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1, max_length=9)] = get_args(Kind)
    seed: Seed  # of the noise


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Images `start` to `start + count` of colour of another source, each under one corruption, with their labels.

    Image k of them has `kinds[k % len(kinds)]`. What is drawn for an image depends on `seed`, its number in the source
    and its corruption alone, so that other severities have the same draw, larger.

    Corruptions and the strengths of severities 1 to 5 are those of Hendrycks and Dietterich (2019), "Benchmarking
    neural network robustness to common corruptions and perturbations", section 3, with the numbers of their CIFAR-10-C,
    where Pillow has the operation. Pillow works on bytes by whole numbers, the same on every machine, which a digest
    needs. Deviations: `gaussian-blur` is three box blurs; `brightness` and `saturate` go through hue, saturation and
    value in 8 bits; `contrast` turns about the image's mean grey and not about that of each channel; noise is rounded
    and not cut to whole numbers. The images are not those of CIFAR-10-C, and figures are not comparable with its.

    Raises:
        DataError: A wrong argument, or the other source cannot be read, has too few images or grey ones.
    """
    wanted = CorruptedArgs.parse(args, "corrupted")
    raw = load_inner(wanted.of, data_dir)
    stop = wanted.start + wanted.count
    if stop > len(raw.images):
        raise DataError(
            f"source 'corrupted' asks for images {wanted.start:,} to {stop:,} of '{wanted.of.source}', which has "
            f"{len(raw.images):,}: ask for fewer."
        )
    if raw.images.shape[3] != 3:
        raise DataError(f"source 'corrupted' needs images of 3 channels; those of '{wanted.of.source}' have 1.")
    images = np.empty((wanted.count, *raw.images.shape[1:]), dtype=np.uint8)
    for k, image in enumerate(raw.images[wanted.start : stop]):
        kind = wanted.kinds[k % len(wanted.kinds)]
        rng = np.random.default_rng(derive_seed("corrupted", wanted.seed, kind, wanted.start + k))
        corrupt, strengths = CORRUPTIONS[kind]
        images[k] = np.asarray(corrupt(Image.fromarray(image), strengths[wanted.severity - 1], rng))
    return replace(raw, images=images, labels=raw.labels[wanted.start : stop], available=None)


def _gaussian_noise(image: Image.Image, deviation: float, rng: np.random.Generator) -> Image.Image:
    """Normal noise of a standard deviation, on a scale of 0 to 1."""
    pixels = np.asarray(image) / 255.0
    return _image(pixels + deviation * rng.standard_normal(pixels.shape))


def _shot_noise(image: Image.Image, photons: float, rng: np.random.Generator) -> Image.Image:
    """As a camera counts photons, so many where a pixel is 1."""
    return _image(rng.poisson(np.asarray(image) / 255.0 * photons) / photons)


def _impulse_noise(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """A share of the values becomes 0 or 1."""
    pixels = np.asarray(image) / 255.0
    hit, white = rng.random(pixels.shape) < share, rng.random(pixels.shape) < 0.5
    return _image(np.where(hit, white, pixels))


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(255.0 * np.clip(pixels, 0.0, 1.0)).astype(np.uint8))


def _gaussian_blur(image: Image.Image, radius: float, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def _pixelate(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """A share of the side's length, and back."""
    small = (max(1, int(image.width * share)), max(1, int(image.height * share)))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)


def _jpeg(image: Image.Image, quality: float, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(quality))
    with Image.open(file, formats=("JPEG",)) as opened:
        return opened.convert("RGB")


def _brightness(image: Image.Image, more: float, rng: np.random.Generator) -> Image.Image:
    """More of the value, on a scale of 0 to 1."""
    hue, saturation, value = image.convert("HSV").split()
    brighter = value.point([min(255, round(v + 255 * more)) for v in range(256)])
    return Image.merge("HSV", (hue, saturation, brighter)).convert("RGB")


def _contrast(image: Image.Image, factor: float, rng: np.random.Generator) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def _saturate(image: Image.Image, factor: float, rng: np.random.Generator) -> Image.Image:
    """So many times the saturation, and a tenth more of the whole scale for each half above 1.5."""
    hue, saturation, value = image.convert("HSV").split()
    more = 255 * max(0.0, (factor - 1.5) / 5)
    other = saturation.point([min(255, round(v * factor + more)) for v in range(256)])
    return Image.merge("HSV", (hue, other, value)).convert("RGB")


CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, float, float, float, float]]] = {
    "gaussian-noise": (_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot-noise": (_shot_noise, (500, 250, 100, 75, 50)),
    "impulse-noise": (_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "gaussian-blur": (_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "pixelate": (_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": (_jpeg, (80, 65, 58, 50, 40)),
    "brightness": (_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "saturate": (_saturate, (0.3, 0.1, 1.5, 2.0, 2.5)),
}
"""Each corruption, and its strengths at severities 1 to 5."""
