"""Single image files: transparency, depth, frames, profiles, and what cannot be decoded."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from bench.datasets.base import RawImages
from bench.datasets.sources import _decode, load_source
from bench.errors import DataError

RNG = np.random.default_rng(3)
IMAGE = RNG.integers(256, size=(8, 8, 3), dtype=np.uint8)


def load(folder: Path, shape: tuple[int, int, int] = (3, 8, 8), **args: Any) -> RawImages:
    return load_source(f"folder:{folder}", {"shape": shape, **args}, folder)


def save(folder: Path, name: str, image: np.ndarray) -> None:
    Image.fromarray(image).save(folder / name)


def said(found: RawImages) -> str:
    return " ".join((*found.notes, *found.skipped))


# --------------------------------------------------------------------------- transparency


def inks(mode: str, number: int, hidden: int) -> Image.Image:
    """A black square, somewhere else for every number, on nothing; `hidden` is the colour below nothing."""
    alpha = np.zeros((8, 8), np.uint8)
    alpha[number : number + 3, 2:6] = 255
    grey = np.where(alpha > 0, 0, hidden).astype(np.uint8)
    if mode == "LA":
        return Image.fromarray(np.stack([grey, alpha], axis=-1), "LA")
    rgba = Image.fromarray(np.stack([grey, grey, grey, alpha], axis=-1), "RGBA")
    if mode == "RGBA":
        return rgba
    paletted = Image.fromarray(np.where(alpha > 0, 1, 0).astype(np.uint8), "P")  # 0 is transparent
    paletted.putpalette([hidden] * 3 + [0] * 3)
    if mode == "P":
        paletted.info["transparency"] = 0
        return paletted
    keyed = Image.fromarray(np.where(alpha > 0, 0, 200).astype(np.uint8), "L")  # 200 is transparent
    keyed.info["transparency"] = 200
    if mode == "L":
        return keyed
    coloured = Image.merge("RGB", (keyed, keyed, keyed))
    coloured.info["transparency"] = (200, 200, 200)
    return coloured


MODES = ("LA", "RGBA", "P", "L", "RGB")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_dark_ink_on_nothing_is_dark_ink_on_white(tmp_path: Path, mode: str, channels: int) -> None:
    for number in range(4):
        inks(mode, number, 0).save(tmp_path / f"{number}.png", **_transparency(mode))
    found = load(tmp_path, (channels, 8, 8))
    assert len({image.tobytes() for image in found.images}) == 4
    assert {0, 255} == set(found.images.ravel().tolist())
    assert "4 files read, of transparency, laid on the ground" in said(found)


def _transparency(mode: str) -> dict[str, Any]:
    return {"P": {"transparency": 0}, "L": {"transparency": 200}, "RGB": {"transparency": (200, 200, 200)}}.get(
        mode, {}
    )


def test_pictures_that_look_alike_are_equal_whatever_their_form(tmp_path: Path) -> None:
    for mode in MODES:
        for hidden in (0, 255):
            inks(mode, 2, hidden).save(tmp_path / f"{mode}{hidden}.png", **_transparency(mode))
    inks("RGBA", 2, 90).save(tmp_path / "webp.webp", lossless=True)
    assert len({image.tobytes() for image in load(tmp_path).images}) == 1


def test_half_transparent_pixels_are_mixed_with_the_ground(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 4), np.uint8)
    image[..., 0], image[..., 3] = 200, 128
    Image.fromarray(image, "RGBA").save(tmp_path / "a.png")
    share = 128 / 255
    expected = np.array([200, 0, 0]) * share + np.array([255, 255, 255]) * (1 - share)
    assert np.abs(load(tmp_path).images[0, 0, 0] - expected).max() <= 1.0  # rounding of eight bits


@pytest.mark.parametrize(
    ("background", "colour"), [("black", [0, 0, 0]), ("white", [255, 255, 255]), ([9, 80, 7], [9, 80, 7])]
)
def test_a_card_chooses_the_ground(tmp_path: Path, background: Any, colour: list[int]) -> None:
    image = np.full((8, 8, 4), 100, np.uint8)
    image[..., 3] = 255
    image[0, 0, 3] = 0
    Image.fromarray(image, "RGBA").save(tmp_path / "a.png")
    assert load(tmp_path, background=background).images[0, 0, 0].tolist() == colour


def test_an_alpha_channel_that_hides_nothing_changes_nothing_and_is_not_mentioned(tmp_path: Path) -> None:
    opaque = np.concatenate([IMAGE, np.full((8, 8, 1), 255, np.uint8)], axis=-1)
    Image.fromarray(opaque, "RGBA").save(tmp_path / "a.png")
    found = load(tmp_path)
    assert np.array_equal(found.images[0], IMAGE)
    assert found.notes == ()


def test_what_vanishes_on_the_ground_is_passed_over_and_said(tmp_path: Path) -> None:
    save(tmp_path, "a.png", IMAGE)
    image = np.full((8, 8, 4), 255, np.uint8)  # white ink on nothing
    image[2:4, :, 3] = 0
    Image.fromarray(image, "RGBA").save(tmp_path / "ink.png")
    Image.fromarray(np.zeros((8, 8, 4), np.uint8), "RGBA").save(tmp_path / "nothing.png")
    found = load(tmp_path)
    assert len(found.images) == 1
    assert "choose another `background`: ink.png" in said(found)
    assert "wholly transparent: nothing.png" in said(found)
    assert len(load(tmp_path, background="black").images) == 2


# --------------------------------------------------------------------------- depth, frames, turning, colour


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("deep.png", np.full((8, 8), 40_000, np.uint16)),
        ("dark.png", np.full((8, 8), 200, np.uint16)),
        ("long.tiff", np.full((8, 8), 40_000, np.int32)),
        ("real.tiff", np.full((8, 8), 0.5, np.float32)),
    ],
)
def test_deep_pixels_are_passed_over_and_never_clipped(tmp_path: Path, name: str, image: np.ndarray) -> None:
    save(tmp_path, "a.png", IMAGE)
    save(tmp_path, name, image)
    found = load(tmp_path)
    assert len(found.images) == 1
    assert f"convert them to 8 bits first: {name}" in said(found)


def png(
    colour_type: int, depth: int, rows: bytes, *chunks: tuple[bytes, bytes], size: tuple[int, int] = (8, 8)
) -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_sixteen_bit_colours_keep_their_upper_bits_and_are_said(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">24H", *([0x1234, 0x8080, 0xFFFF] * 8))
    (tmp_path / "deep.png").write_bytes(png(2, 16, row * 8))
    found = load(tmp_path)
    assert found.images[0, 0, 0].tolist() == [0x12, 0x80, 0xFF]
    assert "1 file read, of 16 bits a channel, of which the upper 8 are taken: deep.png." in found.notes


def test_sixteen_bit_colours_with_a_transparent_one_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path, "a.png", IMAGE)
    row = b"\0" + struct.pack(">24H", *([0x1234, 0x8080, 0xFFFF] * 8))
    (tmp_path / "deep.png").write_bytes(png(2, 16, row * 8, (b"tRNS", struct.pack(">3H", 0x1234, 0x8080, 0xFFFF))))
    assert "transparent colour of 16 bits" in said(load(tmp_path))


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.tiff", "a.png"])
def test_of_several_frames_the_first_is_taken_and_said(tmp_path: Path, name: str) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), grey, np.uint8)) for grey in (0, 255)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    found = load(tmp_path)
    assert found.images.max() == 0
    assert f"1 file read, of several frames, of which the first is taken: {name}." in found.notes


@pytest.mark.parametrize("name", ["a.bmp", "a.jpg", "a.ppm", "a.png"])
def test_of_files_that_have_one_frame_nothing_is_said(tmp_path: Path, name: str) -> None:
    Image.fromarray(IMAGE).save(tmp_path / name)
    assert not any("frames" in note for note in load(tmp_path).notes)


def test_an_image_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[_decode.ORIENTATION] = 6  # the camera lay on its left side: turn by a quarter, clockwise
    Image.fromarray(IMAGE).save(tmp_path / "a.png", exif=exif)
    found = load(tmp_path)
    assert np.array_equal(found.images[0], np.rot90(IMAGE, k=-1))
    assert "turned as their EXIF says" in said(found)


def test_cmyk_and_other_profiles_are_said(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).convert("CMYK").save(tmp_path / "ink.jpg")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(IMAGE).save(tmp_path / "lab.png", icc_profile=profile)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(IMAGE).save(tmp_path / "srgb.png", icc_profile=srgb)
    notes = load(tmp_path).notes
    assert "1 file read, of CMYK, turned into RGB without a colour profile: ink.jpg." in notes
    assert "1 file read, with a colour profile other than sRGB, which is not applied: lab.png." in notes


def test_images_are_cut_to_the_middle_and_resized(tmp_path: Path) -> None:
    wide = np.zeros((16, 48, 3), dtype=np.uint8)
    wide[:, 12:36] = 200  # more than the middle square: the filter reaches a little beyond it
    save(tmp_path, "wide.png", wide)
    assert (load(tmp_path).images == 200).all()


def test_a_colour_image_becomes_grey_where_the_track_is(tmp_path: Path) -> None:
    save(tmp_path, "a.png", IMAGE)
    assert load(tmp_path, (1, 8, 8)).images.shape == (1, 8, 8, 1)


# --------------------------------------------------------------------------- what cannot be decoded


def test_broken_images_are_passed_over_and_named(tmp_path: Path) -> None:
    save(tmp_path, "a.png", IMAGE)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[:100])
    (tmp_path / "c.jpg").write_bytes(b"nothing")
    (tmp_path / "d.png").write_bytes(b"<html>")
    found = load(tmp_path)
    assert len(found.images) == 1
    assert "2 files passed over, cannot be decoded (UnidentifiedImageError): c.jpg, d.png." in found.skipped
    assert "b.png" in said(found)


@pytest.mark.parametrize("size", [(8000, 8000), (12_000, 12_000), (60_000, 60_000)])
def test_a_decompression_bomb_is_refused_and_reported(tmp_path: Path, size: tuple[int, int]) -> None:
    save(tmp_path, "a.png", IMAGE)
    (tmp_path / "bomb.png").write_bytes(png(0, 1, b"", size=size))
    found = load(tmp_path)
    assert len(found.images) == 1
    assert "more than the 50,000,000 pixels allowed: bomb.png" in said(found)


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "a.png", IMAGE)
    with (tmp_path / "big.png").open("wb") as file:
        file.truncate(_decode.MAX_FILE_BYTES + 1)
    assert "larger than 64 MiB: big.png" in said(load(tmp_path))


def test_whatever_a_decoder_raises_spoils_no_other_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, "a.png", IMAGE)
    save(tmp_path, "b.gif", IMAGE[..., 0])

    def odd(*args: Any, **kwargs: Any) -> Any:
        raise RecursionError

    monkeypatch.setattr("PIL.GifImagePlugin.GifImageFile._open", odd)
    assert "cannot be decoded (RecursionError): b.gif" in said(load(tmp_path))


def test_a_set_that_would_not_fit_in_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, "a.png", IMAGE)
    save(tmp_path, "b.png", IMAGE)
    monkeypatch.setattr("bench.datasets.sources._args.MAX_BYTES", 8 * 8 * 3)
    with pytest.raises(DataError, match="take fewer images"):
        load(tmp_path)
