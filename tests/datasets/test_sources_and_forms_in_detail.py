"""What each source, form and published file is, one by one, and every sentence about a user's own source."""

import numpy as np
import pytest
from PIL import Image

from bench.cards.track import FormSpec, OtherForm, SetSpec
from bench.datasets import published
from bench.datasets.download import distinct
from bench.datasets.forms import chosen_form, declared_digest, form_name, is_pinned, is_present
from bench.datasets.published import BATCHES, IDX, PublishedFile
from bench.datasets.sources import fetchable, load_source, reads_files, source_names
from bench.datasets.sources._decode import RefusedError, decode
from bench.datasets.sources._passed import NAME_LENGTH, Tally, named, shown
from bench.datasets.sources.spiral import blend
from bench.datasets.unpacking import MAX_MEMBERS
from bench.datasets.wanted import _is_source
from bench.errors import DataError

# --------------------------------------------------------------------------- sources


def test_sources_are_told_by_what_they_need():
    assert source_names() == (
        "background", "checkerboard", "corrupted", "digits", "folder", "gaussian", "glyphs", "npz", "photos",
        "shuffled", "skimage", "spiral", "strokes", "torchvision", "uniform",
    )  # fmt: skip
    assert [name for name in source_names() if reads_files(name)] == [
        "background",
        "corrupted",
        "folder",
        "npz",
        "torchvision",
    ]
    assert [name for name in source_names() if fetchable(name)] == ["npz", "torchvision"]
    assert reads_files("my.module:load") and reads_files("folder:pictures") and not fetchable("folder:pictures")


def test_a_source_is_a_function_of_args_and_data_dir():
    def good(args, data_dir):
        pass

    def private(_args, _data_dir, more=None):
        pass

    def swapped(data_dir, args):
        pass

    assert [_is_source(found) for found in (good, private, swapped, len, 3, lambda args: 0)] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


OWN = {
    "two": "RawImages(np.zeros((2, 1, 1, 2), np.uint8), np.zeros(2, np.int64))",
    "flat": "RawImages(np.zeros((2, 1, 1), np.uint8), np.zeros(2, np.int64))",
    "floats": "RawImages(np.zeros((2, 1, 1, 1)), np.zeros(2, np.int64))",
    "labels": "RawImages(np.zeros((2, 1, 1, 1), np.uint8), np.zeros(3, np.int64))",
    "small": "RawImages(np.zeros((2, 1, 1, 1), np.uint8), np.zeros(2, np.int32))",
    "lists": "RawImages([[1]], np.zeros(2, np.int64))",
    "unlabelled": "RawImages(np.zeros((2, 1, 1, 1), np.uint8), None)",
    "nothing": "None",
    "raising": "1 / 0",
}
SAID = {
    "two": "gave uint8 (2, 1, 1, 2): images must be uint8 (N, H, W, 1 or 3).",
    "flat": "gave uint8 (2, 1, 1): images must be uint8 (N, H, W, 1 or 3).",
    "floats": "gave float64 (2, 1, 1, 1): images must be uint8 (N, H, W, 1 or 3).",
    "labels": "gave int64 (3,): labels must be int64 (2,).",
    "small": "gave int32 (2,): labels must be int64 (2,).",
    "lists": "returned RawImages: it must return RawImages with arrays.",
    "unlabelled": "returned RawImages: it must return RawImages with arrays.",
    "nothing": "returned NoneType: it must return RawImages with arrays.",
    "raising": "cannot read its images (ZeroDivisionError: 'division by zero'): correct its files, or its code where "
    "it is your own.",
}


@pytest.mark.parametrize("case", OWN)
def test_what_a_users_own_source_got_wrong_is_said(tmp_path, case):
    (tmp_path / f"own_source_{case}.py").write_text(
        "import numpy as np\nfrom bench.datasets.base import RawImages\n\n"
        f"def load(args, data_dir):\n    return {OWN[case]}\n"
    )
    with pytest.raises(DataError) as error:
        load_source(f"own_source_{case}:load", {}, tmp_path, tmp_path)
    assert str(error.value) == f"source 'own_source_{case}:load' {SAID[case]}"


def test_names_are_listed_in_order_up_to_five_and_cut_at_eighty_letters():
    assert named(list("edcba")) == "a, b, c, d, e"
    assert named(list("fedcba")) == "a, b, c, d, e and 1 more"
    assert shown("n" * NAME_LENGTH) == "n" * 80
    assert shown("n" * (NAME_LENGTH + 1)) == "n" * 77 + "..."
    assert shown("a\nb\x1b\udc80") == "a\\nb\\x1b\\udc80"


def test_what_is_passed_over_is_one_sentence_a_reason():
    tally = Tally()
    for reason, name in (("links", "b"), ("hidden", ".c"), ("links", "a")):
        tally.add(reason, name)
    assert len(tally) == 3
    assert tally.sentences("passed over") == (
        "1 file passed over, hidden: .c.",
        "2 files passed over, links: a, b.",
    )


def test_two_colours_differ_by_two_fifths_of_the_range_in_every_channel_and_nothing_leaves_it():
    rng = np.random.default_rng(0)
    for _ in range(200):
        dark, light = blend(np.array([[0.0, 1.0]]), rng, 3)[0].astype(int)
        assert (np.abs(dark - light) >= 0.4 * 255 - 1).all()


# --------------------------------------------------------------------------- one image file


def test_a_file_of_just_the_largest_size_and_an_image_of_just_the_most_pixels_are_read(tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3)).save(file)
    size = file.stat().st_size
    for limit, words in ((size, None), (size - 1, "larger than 0 MiB")):
        monkeypatch.setattr("bench.datasets.sources._decode.MAX_FILE_BYTES", limit)
        refused(file, words)
    monkeypatch.undo()
    for limit, words in ((6, None), (5, "more than the 5 pixels allowed")):
        monkeypatch.setattr("bench.datasets.sources._decode.MAX_PIXELS", limit)
        refused(file, words)


def refused(file, words):
    said = []
    if words is None:
        found = decode(file, 1, (3, 2), (255, 255, 255), said.append)
        assert (found.tolist(), said) == ([[0, 1, 2], [3, 4, 5]], [])
        return
    with pytest.raises(RefusedError) as error:
        decode(file, 1, (3, 2), (255, 255, 255), said.append)
    assert str(error.value) == words


def test_transparency_is_laid_on_the_ground_and_said(tmp_path):
    ink = np.zeros((2, 2, 4), np.uint8)
    ink[0, 0, 3], ink[1, 1] = 255, (200, 100, 50, 51)
    Image.fromarray(ink).save(tmp_path / "a.png")
    said = []
    found = decode(tmp_path / "a.png", 3, (2, 2), (255, 255, 255), said.append)
    assert found.tolist() == [[[0, 0, 0], [255, 255, 255]], [[255, 255, 255], [244, 224, 214]]]
    assert said == ["of transparency, laid on the ground"]
    Image.fromarray(np.dstack([ink[..., :3], np.full((2, 2), 255, np.uint8)])).save(tmp_path / "b.png")
    assert decode(tmp_path / "b.png", 3, (2, 2), (9, 9, 9), said.append)[1, 1].tolist() == [200, 100, 50]
    assert len(said) == 1
    for image, words in ((ink * 0, "wholly transparent"), (black(ink), "whose shapes vanish on this ground")):
        Image.fromarray(image).save(tmp_path / "c.png")
        with pytest.raises(RefusedError, match=words):
            decode(tmp_path / "c.png", 3, (2, 2), (0, 0, 0), said.append)


def black(ink):
    return np.dstack([ink[..., :3] * 0, ink[..., 3]])


# --------------------------------------------------------------------------- forms


def form(source, **args):
    return FormSpec(source=source, args=args)


def test_forms_have_the_names_of_their_files():
    names = [
        form_name(each)
        for each in (
            form("torchvision", dataset="MNIST", train=True),
            form("folder", path="p"),
            form("npz", file="a.npz"),
            form("npz"),
            form("digits", file="x"),
            form("folder:p"),
        )
    ]
    assert names == ["torchvision's MNIST", "folder:p", "a.npz", "npz", "digits", "folder:p"]


def test_a_form_is_present_where_its_files_are(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "a.npz").symlink_to("gone")
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    there = [form("folder:p"), form("folder", path="p"), form("folder", path=str(tmp_path / "p"))]
    there += [form("npz", file="a.npz"), form("torchvision", dataset="MNIST"), form("digits"), form("my:load")]
    assert all(is_present(each, tmp_path) for each in there)
    assert [is_present(each, None) for each in there] == [False, False, True, False, False, True, True]
    gone = [form("folder:q"), form("folder:file"), form("npz", file="b.npz"), form("torchvision", dataset="KMNIST")]
    assert not any(is_present(each, tmp_path) for each in gone)


@pytest.mark.parametrize("train", [True, False])
def test_cifar_is_present_as_its_archive_or_with_all_files_of_its_half(tmp_path, train):
    asked = form("torchvision", dataset="CIFAR10", train=train)
    names = list(BATCHES["CIFAR10"].files["train" if train else "test"])
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in names:
        assert not is_present(asked, tmp_path)
        (folder / name).write_text("")
    assert is_present(asked, tmp_path)
    (folder / names[0]).unlink()
    (tmp_path / "cifar-10-python.tar.gz").write_text("")
    assert is_present(asked, tmp_path)


def test_the_only_form_is_chosen_though_it_is_not_there_and_of_several_none(tmp_path):
    one = SetSpec(source="npz", args={"file": "a.npz"}, digest="1" * 64)
    two = SetSpec(
        source="npz", args={"file": "a.npz"}, digest="1" * 64, also=[OtherForm(source="npz", args={"file": "b.npz"})]
    )
    assert chosen_form(one, tmp_path) == one.forms[0]
    assert chosen_form(two, tmp_path) is None
    assert declared_digest(one, tmp_path) == declared_digest(two, tmp_path) == "1" * 64
    (tmp_path / "b.npz").write_text("")
    assert chosen_form(two, tmp_path) == two.forms[1] == two.also[0]
    assert declared_digest(two, tmp_path) is None
    other = OtherForm(source="npz", args={"file": "c.npz"}, digest="2" * 64)
    assert (
        declared_digest(SetSpec(source="npz", args={"file": "a.npz"}, digest="1" * 64, also=[other]), tmp_path) is None
    )


def test_content_is_pinned_by_a_digest_or_by_torchvisions_md5():
    asked = [form("npz", file="a"), FormSpec(source="npz", args={"file": "a"}, digest="1" * 64)]
    asked += [form("torchvision", dataset=name) for name in ("MNIST", "CIFAR10", "CIFAR100")]
    asked += [form("npz", dataset="CIFAR10")]
    assert [is_pinned(each) for each in asked] == [False, True, False, True, True, False]


def test_sets_of_the_same_files_are_fetched_once():
    a, b = ({"source": "npz", "args": {"file": name}} for name in ("a.npz", "b.npz"))
    specs = [SetSpec(**a), SetSpec(**b), SetSpec(**a, start=3), SetSpec(**a, also=[OtherForm(**b)]), SetSpec(**b)]
    assert list(distinct(iter(specs))) == [specs[0], specs[1], specs[3]]


# --------------------------------------------------------------------------- published files


def test_published_files_have_known_names_and_unpack_to_known_sizes():
    count = {"train": 60_000, "t10k": 10_000}
    for dataset, halves in IDX.items():
        assert list(halves) == ["train", "t10k"]
        for half, (images, labels) in halves.items():
            assert (images.name, labels.name) == (f"{half}-images-idx3-ubyte.gz", f"{half}-labels-idx1-ubyte.gz")
            assert images.unpacked == 16 + count[half] * 784
            assert labels.unpacked == 8 + count[half]
            assert {file.digest[0] for file in (images, labels)} == {"sha256"}
            assert all(url.endswith(f"/{file.name}") for file in (images, labels) for url in file.urls), dataset
    assert {name: len(halves["train"][0].urls) for name, halves in IDX.items()} == {
        "MNIST": 2,
        "FashionMNIST": 2,
        "KMNIST": 1,
    }


SIZES = (
    9912422, 28881, 1648877, 4542, 26421880, 29515, 4422102, 5148, 18165135, 29497, 3041136, 5120, 170498071, 169001437,
)  # fmt: skip


def test_published_files_have_their_published_sizes():
    idx = [file.size for halves in IDX.values() for files in halves.values() for file in files]
    assert (*idx, *(batches.archive.size for batches in BATCHES.values())) == SIZES
    assert [batches.count for batches in BATCHES.values()] == [
        {"train": 10_000, "test": 10_000},
        {"train": 50_000, "test": 10_000},
    ]
    assert all(batches.archive.unpacked is None for batches in BATCHES.values())
    assert published.IDX_COPIES == {"kmnist_test.npz": ("KMNIST", "t10k")}
    assert MAX_MEMBERS == 1000


@pytest.mark.parametrize(
    "over",
    [
        {"name": "a/b"}, {"name": ".a"}, {"name": "-a"}, {"name": ""}, {"size": 0}, {"urls": ()},
        {"digest": ("sha256", "0" * 63)}, {"digest": ("sha256", "A" * 64)}, {"digest": ("md5", "0" * 64)},
    ],
)  # fmt: skip
def test_what_could_not_be_fetched_safely_is_no_published_file(over):
    given = {"name": "a_1.b-c", "urls": ("https://x/a",), "size": 1, "digest": ("md5", "0" * 32)}
    PublishedFile(**given)
    with pytest.raises(DataError):
        PublishedFile(**{**given, **over})
