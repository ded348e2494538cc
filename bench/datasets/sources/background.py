"""Grey figures on pictures: the black ground of one source's images is replaced by blurred images of another one."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image, ImageFilter
from pydantic import Field

from bench.datasets.base import RawImages
from bench.datasets.sources._args import Count, Seed, SourceArgs, check_size
from bench.datasets.sources._inner import InnerForm, load_inner
from bench.errors import DataError
from bench.randomness import derive_seed


class BackgroundArgs(SourceArgs):
    """Which figures, on which pictures, and how much these are blurred."""

    of: InnerForm  # source and args of the figures, grey on black
    behind: InnerForm  # source and args of the pictures, grey or in colour
    start: Annotated[int, Field(ge=0)] = 0  # the first figure that is taken
    count: Count | None = None  # how many figures; nothing: all to the end
    behind_start: Annotated[int, Field(ge=0)] = 0  # the first picture that may be drawn
    behind_stop: Annotated[int, Field(ge=1)] | None = None  # the first that may no longer be drawn; nothing: all may
    blur: Annotated[float, Field(ge=0, le=32)] = 0.0  # standard deviation of the Gaussian blur, in pixels
    figures: bool = True  # false leaves the figures out: the pictures alone, as many
    seed: Seed  # of which picture is behind which figure


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """Every figure on a picture of its own draw, with the figure's label, HxWx1 as the figures are.

    A picture is made grey (ITU-R 601), brought to the figures' size by averages (Pillow's BOX filter) and blurred; the
    figure lies on it as ink of its own brightness: p = f + (1 - f) b for figures f and pictures b in [0, 1].

    With MNIST on CIFAR-10 and blur 0, 1 and 5 this makes BG-MNIST-0, -1 and -5 of Fetaya, Jacobsen, Grathwohl and Zemel
    (2020), "Understanding the limitations of conditional generative models", section 4.5 and table 3. The paper does
    not say how figures and pictures are laid over each other, nor by which filter pictures are reduced. Pillow blurs by
    three box blurs.

    Raises:
        DataError: A wrong argument, or one of the sources cannot be read, has colour figures or too few pictures.
    """
    wanted = BackgroundArgs.parse(args, "background")
    raw, behind = load_inner(wanted.of, data_dir), load_inner(wanted.behind, data_dir)
    pictures = behind.images
    end = len(raw.images) if wanted.count is None else wanted.start + wanted.count
    if not wanted.start < end <= len(raw.images):
        raise DataError(
            f"source 'background' asks for figures {wanted.start:,} to {end:,} of '{wanted.of.source}', which has "
            f"{len(raw.images):,}: ask for fewer."
        )
    figures = raw.images[wanted.start : end]
    count, height, width, channels = figures.shape
    if channels != 1:
        raise DataError(f"source 'background' needs grey figures; those of '{wanted.of.source}' have 3 channels.")
    stop = len(pictures) if wanted.behind_stop is None else wanted.behind_stop
    if not wanted.behind_start < stop <= len(pictures):
        raise DataError(
            f"source 'background' asks for pictures {wanted.behind_start:,} to {stop:,} of '{wanted.behind.source}', "
            f"which has {len(pictures):,}: ask for fewer."
        )
    check_size(count, height, width, 1, "source 'background'")
    rng = np.random.default_rng(derive_seed("background", wanted.seed))
    drawn = rng.integers(wanted.behind_start, stop, size=(count,))
    images = np.empty((count, height, width, 1), dtype=np.uint8)
    for k, number in enumerate(drawn):
        ground = _ground(pictures[number], (width, height), wanted.blur)
        images[k, ..., 0] = _laid_on(figures[k, ..., 0], ground) if wanted.figures else ground
    labels = raw.labels[wanted.start : end] if wanted.figures else np.full(count, -1, dtype=np.int64)
    skipped, notes = (*raw.skipped, *behind.skipped), (*raw.notes, *behind.notes)
    return RawImages(images, labels, skipped, notes, class_names=raw.class_names if wanted.figures else ())


def _ground(picture: np.ndarray, size: tuple[int, int], blur: float) -> np.ndarray:
    """(H, W) bytes of one picture, (h, w, 1 or 3)."""
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).convert("L")
    image = image.resize(size, Image.Resampling.BOX)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)) if blur else image)


def _laid_on(figure: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """In bytes: f + (1 - f) b, rounded."""
    ink = figure.astype(np.uint32)
    laid: np.ndarray = (ink + ((255 - ink) * ground + 127) // 255).astype(np.uint8)
    return laid
