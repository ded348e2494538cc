"""Any folder of image files, decoded safely."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field, StringConstraints

from bench.datasets.base import RawImages
from bench.datasets.sources._args import Shape, SourceArgs, check_size
from bench.datasets.sources._files import MissingDataError
from bench.errors import DataError

FORMATS = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "GIF": ".gif", "WEBP": ".webp", "PPM": ".ppm", "TIFF": ".tiff"}
"""What is decoded; formats that can run programs (EPS) or fetch files are not among them."""

SUFFIXES = {*FORMATS.values(), ".jpeg", ".pgm", ".tif"}

MAX_PIXELS = 50_000_000
"""An image that says it is larger is refused before it is decoded."""

MAX_FILE_BYTES = 64 << 20


class FolderArgs(SourceArgs):
    """A folder, and the shape that its images are brought to."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    shape: Shape
    max_images: int = Field(default=10_000, ge=1, le=1_000_000)


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """The first `max_images` images below a folder, without labels: its own files by name, then its folders by name.

    A path that is not absolute is below the data folder. Each image is turned as its EXIF says, made grey (ITU-R 601)
    or RGB, cut to the largest centred part of the wanted proportions and resized with Pillow's antialiased bicubic
    filter; an image that already has the size is left as it is. Links and hidden files are passed over. A file that is
    broken, or too large to be decoded safely, is skipped and reported.

    Raises:
        DataError: The folder is missing or holds no readable image.
    """
    wanted = FolderArgs.parse(args, "folder")
    folder = _folder(wanted.path, data_dir)
    channels, height, width = wanted.shape
    images: list[np.ndarray] = []
    skipped: list[str] = []
    for path in _image_files(folder):
        if len(images) == wanted.max_images:
            break
        try:
            images.append(_decode(path, channels, (width, height)))
        except _Refused as reason:
            skipped.append(f"{path.relative_to(folder)} was skipped: {reason}.")
    if not images:
        first = f", the first: {skipped[0]}" if skipped else "; read are " + ", ".join(sorted(SUFFIXES)) + "."
        raise DataError(f"folder {folder} holds no readable image ({len(skipped)} skipped){first}")
    check_size(len(images), height, width, channels, f"folder {folder}")
    stacked = np.stack(images).reshape(-1, height, width, channels)
    return RawImages(stacked, np.full(len(images), -1, dtype=np.int64), tuple(skipped))


def _folder(path: str, data_dir: Path) -> Path:
    given = Path(path).expanduser()
    folder = given if given.is_absolute() else data_dir / given
    if not given.is_absolute() and not folder.resolve().is_relative_to(data_dir.resolve()):
        raise DataError(f"folder '{path}' leaves the data folder: give a path inside it, or an absolute one.")
    if not folder.is_dir():
        below = "" if given.is_absolute() else f" below {data_dir}"
        raise MissingDataError(
            f"image folder '{path}' is missing{below}: put the images there, or correct the path in the track's card."
        )
    return folder


def _image_files(folder: Path) -> Iterator[Path]:
    """Files with an image's suffix, sorted; no links, nothing hidden."""
    for here, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(here) / name
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and not path.is_symlink():
                yield path


class _Refused(Exception):  # noqa: N818  # a reason, not an error
    """Why one file was skipped."""


def _decode(path: Path, channels: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W) or (H, W, 3) bytes of one file."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _Refused(f"the file is larger than {MAX_FILE_BYTES >> 20} MiB")
        with warnings.catch_warnings():
            # Pillow warns of its own, larger limit; ours is checked below, before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            with Image.open(path, formats=tuple(FORMATS)) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise _Refused(f"{opened.width}x{opened.height} pixels are more than the {MAX_PIXELS:,} allowed")
                if opened.mode.startswith(("I", "F")):
                    raise _Refused("its pixels are not bytes; convert it to 8 bits first")
                image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
    except Image.DecompressionBombError:
        raise _Refused(f"it has more than the {MAX_PIXELS:,} pixels allowed") from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError) as error:
        raise _Refused(f"it cannot be decoded ({type(error).__name__})") from None
    if image.size != size:
        image = ImageOps.fit(image, size, Image.Resampling.BICUBIC)
    return np.asarray(image)
