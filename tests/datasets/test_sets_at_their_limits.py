"""Parts, labels and sizes of sets at exactly their limits, and small images computed by hand."""

import gzip
import hashlib
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cards.track import SetSpec
from bench.datasets import npz_files
from bench.datasets.base import ImageSet, RawImages, content_digest, sample_ids
from bench.datasets.decoding import _cut, chosen, prepared
from bench.datasets.kept import RELEASED_AFTER, Pages
from bench.datasets.labels import label_notes
from bench.datasets.sources import _args as source_args
from bench.datasets.sources import load_source
from bench.datasets.sources._args import MAX_BYTES, DrawnArgs, check_size
from bench.datasets.unpacking import unpack_gzip
from bench.errors import DataError
from bench.randomness import derive_seed

# --------------------------------------------------------------------------- sets in memory


def image_set(count, **over):
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 2, 2).contiguous()
    return ImageSet("letters", images, torch.arange(count) % 3, sample_ids("letters", count), "digest", **over)


def test_ids_are_the_name_in_the_high_bits_and_the_position_in_the_low_ones():
    assert sample_ids("letters", 3).tolist() == [(zlib.crc32(b"letters") << 31) + k for k in range(3)]
    assert sample_ids("letters", 3).dtype == torch.int64


def test_a_digest_is_of_shape_pixels_and_labels():
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    labels = np.array([3, -1])
    content = b"(2, 2, 2, 3)" + images.tobytes() + labels.astype("<i8").tobytes()
    assert content_digest(images, labels) == hashlib.sha256(content).hexdigest()
    assert content_digest(images[:, ::-1][:, ::-1], labels) == content_digest(images, labels)


@pytest.mark.parametrize("limit", [1, 4, 9])
def test_a_limit_takes_the_start_of_one_shuffle_in_the_order_of_the_set(limit):
    whole = image_set(10)
    part = whole.limited(limit)
    order = np.random.default_rng(derive_seed("limit", "letters")).permutation(10)[:limit]
    kept = sorted(order.tolist())
    assert part.images[:, 0, 0, 0].tolist() == kept
    assert part.labels.tolist() == [k % 3 for k in kept]
    assert torch.equal(part.ids, whole.ids[kept])
    assert (part.digest, len(part)) == ("digest", limit)


@pytest.mark.parametrize("limit", [None, 10, 11])
def test_a_limit_of_all_images_or_more_takes_the_set_as_it_is(limit):
    whole = image_set(10)
    assert whole.limited(limit) is whole


class Told:
    """Pages that count what they hear."""

    def __init__(self):
        self.read, self.released = 0, 0

    def used(self, count):
        self.read += count

    def release(self):
        self.released += 1


def test_what_is_read_of_a_file_is_told_and_a_part_of_it_is_copied_sixteen_at_a_time():
    pages = Told()
    whole = image_set(40, pages=pages)
    assert torch.equal(whole.pixels(slice(2, 5)), whole.images[2:5] / 255.0)
    assert pages.read == 3 * 4
    part = whole.limited(33)
    assert (pages.released, part.pages) == (3, None)
    assert torch.equal(part.images, image_set(40).limited(33).images)


def test_labels_that_are_needed_and_missing_are_one_sentence():
    whole = image_set(6)
    assert whole.required_labels("a fit") is whole.labels
    for labels, words in (
        (torch.full((6,), -1), "has no labels"),
        (torch.tensor([0, -1, 2, 3, -1, 0]), "has 2 images"),
    ):
        with pytest.raises(DataError) as error:
            replace(whole, labels=labels).required_labels("a fit")
        assert str(error.value).startswith(f"a fit needs labels, and the set 'letters' {words}")


def test_pages_are_given_back_once_just_so_many_bytes_were_read():
    class Mapped:
        calls = 0

        def madvise(self, advice):
            self.calls += 1

    mapped = Mapped()
    pages = Pages(mapped)
    pages.used(RELEASED_AFTER - 1)
    assert mapped.calls == 0
    pages.used(1)
    assert mapped.calls == 1
    pages.used(RELEASED_AFTER - 1)
    assert mapped.calls == 1
    pages.used(2)
    assert mapped.calls == 2
    Pages(object()).release()  # a system that knows no such advice


# --------------------------------------------------------------------------- labels


def test_labels_at_both_ends_of_the_classes_are_allowed_and_one_beyond_is_not():
    assert label_notes(np.array([0, 1, 2]), 3, "the set") == ()
    for wrong in ([0, 1, 3], [-2, 1, 2]):
        with pytest.raises(DataError) as error:
            label_notes(np.array(wrong), 3, "the set")
        assert str(error.value) == (
            f"the set has labels {min(wrong)} to {max(wrong)}, of which 1 of 3 lie outside 0 to 2, the labels of 3 "
            "classes (-1 is no label): correct the labels, or `classes` in the track's card."
        )


def test_missing_labels_and_absent_classes_are_counted_and_ten_of_them_named():
    none = "no image has a label: there is no ID accuracy, and nothing that needs classes can be done with it."
    assert label_notes(np.full(4, -1), 3, "") == (none,)
    some = "1 of 4 images have no label; they do not enter the ID accuracy."
    assert label_notes(np.array([0, 1, 2, -1]), 3, "") == (some,)
    absent = "no image has label 1, of the track's 3 classes."
    assert label_notes(np.array([0, 2, 2, -1]), 3, "") == (some, absent)
    ten = ", ".join(map(str, range(1, 11)))
    assert label_notes(np.array([0]), 11, "") == (f"no image has label {ten}, of the track's 11 classes.",)
    assert label_notes(np.array([0]), 12, "") == (f"no image has label {ten} and 1 more, of the track's 12 classes.",)


# --------------------------------------------------------------------------- what a card takes of a source


def raw(count=6, side=4, channels=3):
    images = np.random.default_rng(0).integers(256, size=(count, side, side, channels), dtype=np.uint8)
    return RawImages(images, np.arange(count) % 3)


def spec(**over):
    return SetSpec(source="uniform", args={"count": 1, "seed": 1, "shape": [1, 2, 2]}, **over)


def test_positions_are_counted_before_labels_are_left_out():
    assert chosen(raw(), spec()).tolist() == [0, 1, 2, 3, 4, 5]
    assert chosen(raw(), spec(start=1, stop=5)).tolist() == [1, 2, 3, 4]
    assert chosen(raw(), spec(start=1, stop=5, exclude_labels=[1])).tolist() == [2, 3]


def test_images_are_greyed_cut_to_their_middle_and_padded_in_this_order():
    images = raw(2, side=5).images
    assert np.array_equal(prepared(images, spec()), images.transpose(0, 3, 1, 2))
    assert np.array_equal(prepared(images, spec(crop=2))[:, 0], images[:, 1:3, 1:3, 0])
    assert np.array_equal(prepared(images, spec(crop=3))[:, 2], images[:, 1:4, 1:4, 2])
    assert np.array_equal(prepared(images, spec(crop=9)), images.transpose(0, 3, 1, 2))
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    padded = prepared(images, spec(grey=True, crop=3, pad=2))
    assert padded.shape == (2, 1, 7, 7)
    assert np.array_equal(padded[:, 0, 2:5, 2:5], grey[:, 1:4, 1:4])
    assert padded.sum() == grey[:, 1:4, 1:4].sum(dtype=np.int64)
    assert np.array_equal(prepared(images[..., :1], spec(grey=True)), images[..., :1].transpose(0, 3, 1, 2))


def test_a_part_keeps_count_digest_and_notes_of_the_whole():
    source = replace(raw(), notes=("a note.",), skipped=("a word.",), class_names=("a", "b", "c"))
    asked = spec(start=1, stop=9, exclude_labels=[0])
    found = _cut(source, asked, asked.forms[0], (3, 4, 4), "the set")
    assert (found.positions.tolist(), found.labels.tolist()) == ([1, 2, 4, 5], [1, 2, 1, 2])
    assert np.array_equal(found.images, source.images[[1, 2, 4, 5]].transpose(0, 3, 1, 2))
    assert (found.count, found.available, found.skipped, found.class_names) == (6, 6, ("a word.",), ("a", "b", "c"))
    assert found.digest == content_digest(source.images, source.labels)
    assert found.notes == ("a note.", "the card takes images up to number 9 and the source has 6.")
    exact = spec(stop=6)
    assert _cut(source, exact, exact.forms[0], (3, 4, 4), "").notes == ("a note.",)
    assert _cut(replace(source, available=0), exact, exact.forms[0], (3, 4, 4), "").available == 0


def test_a_part_of_nothing_or_of_another_shape_is_one_sentence():
    for over, shape, words in (
        ({"start": 6}, (3, 4, 4), "the set is empty: its source has 6 images and the card takes none of them."),
        ({}, (1, 4, 4), "the set has images of shape (3, 4, 4), the track's is (1, 4, 4): set crop, pad or grey"),
    ):
        asked = spec(**over)
        with pytest.raises(DataError) as error:
            _cut(raw(), asked, asked.forms[0], shape, "the set")
        assert str(error.value).startswith(words)


# --------------------------------------------------------------------------- arguments and sizes


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4096, 4096), (3, 1, 4096)])
def test_shapes_at_their_limits_are_allowed(shape):
    assert DrawnArgs.parse({"count": 1, "seed": 0, "shape": shape}, "uniform").shape == shape


@pytest.mark.parametrize("shape", [(2, 1, 1), (0, 1, 1), (4, 2, 2), (1, 0, 1), (1, 1, 0), (1, 4097, 1), (1, 1, 4097)])
def test_shapes_beyond_their_limits_are_refused(shape):
    with pytest.raises(DataError) as error:
        DrawnArgs.parse({"count": 1, "seed": 0, "shape": shape}, "uniform")
    assert str(error.value) == (
        f"source 'uniform', argument 'shape' (given: {shape}): Value error, must be [1 or 3, height, width] with sides "
        "up to 4096; its arguments are count, seed, shape."
    )


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        ({"count": 1}, {"count": 0}),
        ({"count": 1_000_000}, {"count": 1_000_001}),
        ({"seed": 2**63 - 1}, {"seed": 2**63}),
    ],
)
def test_counts_and_seeds_are_bounded(allowed, refused):
    given = {"count": 1, "seed": 0, "shape": (1, 1, 1)}
    DrawnArgs.parse({**given, **allowed}, "uniform")
    with pytest.raises(DataError):
        DrawnArgs.parse({**given, **refused}, "uniform")


def test_a_set_of_just_the_largest_size_is_allowed():
    check_size(1024, 1024, 1024, 4, "it")
    with pytest.raises(DataError) as error:
        check_size(MAX_BYTES + 1, 1, 1, 1, "it")
    assert str(error.value) == "it holds 4.0 GiB of pixels; allowed are 4 GiB: take fewer images."
    with pytest.raises(DataError, match=r"it holds 6\.0 GiB"):
        check_size(3, 1024, 1024, 2048, "it")


def test_an_archive_may_hold_just_so_many_images(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.datasets.sources.npz.MAX_IMAGES", 3)
    for count in (3, 4):
        np.savez(tmp_path / f"{count}.npz", images=np.zeros((count, 1, 1, 1), np.uint8))
    found = load_source("npz", {"file": "3.npz"}, tmp_path)
    assert found.labels.tolist() == [-1, -1, -1]
    assert found.labels.dtype == np.int64
    with pytest.raises(DataError, match="holds 4 images; allowed are 3: take fewer images"):
        load_source("npz", {"file": "4.npz"}, tmp_path)


def test_an_archive_may_unpack_to_just_so_many_times_its_size(tmp_path, monkeypatch):
    file = tmp_path / "a.npz"
    np.savez_compressed(file, images=np.zeros((400, 8, 8, 1), np.uint8), labels=np.zeros(400, np.int64))
    size, packed = 400 * 64 + 400 * 8, file.stat().st_size
    monkeypatch.setattr(npz_files, "MAX_RATIO", 1)
    monkeypatch.setattr(npz_files, "ALWAYS_ALLOWED", size)
    assert len(load_source("npz", {"file": "a.npz"}, tmp_path).images) == 400
    monkeypatch.setattr(npz_files, "ALWAYS_ALLOWED", size - 1)
    with pytest.raises(DataError, match=f"has {packed:,} bytes and unpacks to 0 MiB; allowed are 0 MiB"):
        load_source("npz", {"file": "a.npz"}, tmp_path)
    monkeypatch.setattr(npz_files, "MAX_RATIO", -(-size // packed))
    monkeypatch.setattr(npz_files, "ALWAYS_ALLOWED", 0)
    assert len(load_source("npz", {"file": "a.npz"}, tmp_path).images) == 400


def test_whole_numbers_of_64_bits_are_taken_and_larger_ones_refused():
    largest = np.array([2**63 - 1], dtype=np.uint64)
    assert npz_files.whole_numbers(largest, "labels").tolist() == [2**63 - 1]
    with pytest.raises(DataError, match=f"labels hold {2**63}"):
        npz_files.whole_numbers(largest + np.uint64(1), "labels")
    assert npz_files.size_of(((2**40, 2**40), np.dtype("f8"))) == 2**83


@pytest.mark.parametrize(("size", "word"), [(9, "more"), (11, "fewer")])
def test_a_packed_file_must_unpack_to_just_its_size(tmp_path, size, word):
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(b"x" * 10))
    unpack_gzip(packed, tmp_path / "a", 10)
    assert (tmp_path / "a").read_bytes() == b"x" * 10
    with pytest.raises(DataError, match=f"it unpacks to {word} than {size} bytes"):
        unpack_gzip(packed, tmp_path / "b", size)
    assert not (tmp_path / "b").exists()


def test_limits_are_these():
    assert (MAX_BYTES, source_args.MAX_IMAGES) == (4 * 2**30, 5_000_000)
    assert (npz_files.MAX_RATIO, npz_files.ALWAYS_ALLOWED, npz_files.MAX_HEADER) == (100, 2**28, 10_000)
    assert RELEASED_AFTER == 2**24
