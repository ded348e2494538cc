"""One image file to bytes, safely: nothing is clipped, cut off or dropped without a word."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

FORMATS = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "GIF": ".gif", "WEBP": ".webp", "PPM": ".ppm", "TIFF": ".tiff"}
"""What is decoded; formats that can run programs (EPS) or fetch files are not among them."""

SUFFIXES = {*FORMATS.values(), ".jpeg", ".pgm", ".pbm", ".pnm", ".tif", ".jpe", ".jfif", ".apng", ".dib"}

MAX_PIXELS = 50_000_000
"""An image that says it is larger is refused before it is decoded."""

MAX_FILE_BYTES = 64 << 20

ORIENTATION = 0x0112
"""The EXIF tag; 1 is upright."""

Said = Callable[[str], None]


class RefusedError(Exception):
    """Why one file is passed over."""


def decode(path: Path, channels: int, size: tuple[int, int], ground: tuple[int, int, int], said: Said) -> np.ndarray:
    """(H, W) or (H, W, 3) bytes of one file.

    The image is laid on a ground where it has transparency, turned as its EXIF says, made grey (ITU-R 601) or RGB, cut
    to the largest centred part of the wanted proportions and resized with Pillow's antialiased bicubic filter; one that
    already has the size is left as it is.

    Args:
        path: The file.
        channels: 1 or 3.
        size: Width and height.
        ground: The colour below what is transparent, 0..255.
        said: Called with each thing about the file that a reader should know, e.g. "of transparency".

    Raises:
        RefusedError: It cannot be decoded, or not without losing what it shows.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RefusedError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
        with warnings.catch_warnings():
            # Pillow warns of its own, larger limit; ours is checked below, before anything is decoded.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=tuple(FORMATS)) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise RefusedError(f"more than the {MAX_PIXELS:,} pixels allowed")
                deep = _remark(opened, said)
                image = _laid_on(_upright(opened, said), ground, said, deep=deep)
                image = image.convert("L" if channels == 1 else "RGB")
    except RefusedError:
        raise
    except Image.DecompressionBombError:
        raise RefusedError(f"more than the {MAX_PIXELS:,} pixels allowed") from None
    except Exception as error:  # whatever a decoder makes of a stranger's bytes
        raise RefusedError(f"cannot be decoded ({type(error).__name__})") from None
    if image.size != size:
        image = ImageOps.fit(image, size, Image.Resampling.BICUBIC)
    return np.asarray(image)


def _remark(opened: Image.Image, said: Said) -> bool:
    """Say what is taken as the field's loaders take it; whether the decoder is about to halve 16-bit channels."""
    if opened.mode.startswith(("I", "F")):
        raise RefusedError("with pixels of more than 8 bits; convert them to 8 bits first")
    tiles: Any = getattr(opened, "tile", None) or []
    modes = [mode for tile in tiles for mode in (tile[3] if isinstance(tile[3], tuple) else (tile[3],))]
    if deep := any(";16" in str(mode) for mode in modes):
        said("of 16 bits a channel, of which the upper 8 are taken")
    if getattr(opened, "is_animated", False):
        said("of several frames, of which the first is taken")
    if opened.mode == "CMYK":
        said("of CMYK, turned into RGB without a colour profile")
    profile = opened.info.get("icc_profile")
    if isinstance(profile, bytes) and not any(name in profile for name in (b"sRGB", "sRGB".encode("utf-16-be"))):
        said("with a colour profile other than sRGB, which is not applied")
    return deep


def _upright(image: Image.Image, said: Said) -> Image.Image:
    if image.getexif().get(ORIENTATION, 1) not in range(2, 9):
        return image
    said("turned as their EXIF says")
    return ImageOps.exif_transpose(image)


def _laid_on(image: Image.Image, ground: tuple[int, int, int], said: Said, *, deep: bool) -> Image.Image:
    """The image over a ground of one colour, where it has transparency at all: what a viewer would show."""
    if not image.has_transparency_data:
        return image
    if deep and "transparency" in image.info:
        raise RefusedError("with a transparent colour of 16 bits; convert them to 8 bits first")
    layer = image.convert("RGBA")
    alpha = np.asarray(layer.getchannel("A"))
    lowest, highest = int(alpha.min()), int(alpha.max())
    if lowest == 255:
        return layer.convert("RGB")
    if highest == 0:
        raise RefusedError("wholly transparent")
    below = Image.new("RGBA", layer.size, (*ground, 255))
    shown = Image.alpha_composite(below, layer).convert("RGB")
    if lowest < highest and len(shown.getcolors(1) or ()) == 1:
        raise RefusedError("whose shapes vanish on this ground; choose another `background`")
    said("of transparency, laid on the ground")
    return shown
