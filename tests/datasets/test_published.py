"""What is fetched is what was published: sizes of files, which a server's answer is held to before it is read."""

import pytest

from bench.datasets.published import BATCHES, IDX

SIZES = {
    "MNIST": {"train": (9_912_422, 28_881), "t10k": (1_648_877, 4_542)},
    "FashionMNIST": {"train": (26_421_880, 29_515), "t10k": (4_422_102, 5_148)},
    "KMNIST": {"train": (18_165_135, 29_497), "t10k": (3_041_136, 5_120)},
}
"""Bytes of images and labels as their servers and TensorFlow Datasets tell them."""


@pytest.mark.parametrize("dataset", SIZES)
def test_idx_files_have_the_bytes_that_were_published_and_unpack_to_a_head_and_a_byte_a_pixel(dataset: str) -> None:
    assert set(IDX) == set(SIZES)
    for half, count in (("train", 60_000), ("t10k", 10_000)):
        images, labels = IDX[dataset][half]
        assert (images.name, labels.name) == (f"{half}-images-idx3-ubyte.gz", f"{half}-labels-idx1-ubyte.gz")
        assert (images.size, labels.size) == SIZES[dataset][half]
        assert images.unpacked == 4 + 3 * 4 + count * 28 * 28
        assert labels.unpacked == 4 + 4 + count
        assert all(url.endswith(f"/{file.name}") for file in (images, labels) for url in file.urls)


def test_cifars_archives_have_the_bytes_and_images_that_were_published() -> None:
    assert {name: found.archive.size for name, found in BATCHES.items()} == {
        "CIFAR10": 170_498_071,
        "CIFAR100": 169_001_437,
    }
    for found in BATCHES.values():
        counts = {half: found.count[half] * len(files) for half, files in found.files.items()}
        assert counts == {"train": 50_000, "test": 10_000}
        assert found.archive.unpacked is None  # it stays as it is
