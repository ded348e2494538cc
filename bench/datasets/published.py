"""Files that others publish: where each lies, how large it is and what its content is.

Sizes and sha256 of the idx files are those that TensorFlow Datasets publishes (`tensorflow_datasets/url_checksums`),
the sha256 of CIFAR's archives for Python those of Keras; the md5 of the files in these are torchvision's.
"""

import re
from dataclasses import dataclass
from typing import Literal

from bench.errors import DataError

Digest = tuple[Literal["sha256", "md5"], str]
"""The kind of a digest, and the digest in hexadecimal."""

_LENGTHS = {"sha256": 64, "md5": 32}


@dataclass(frozen=True)
class PublishedFile:
    """One file as it was published.

    Attributes:
        name: What it is called in a folder.
        urls: Where it lies, all of the same content; tried in this order.
        size: Its bytes.
        digest: What it is. md5 only where nothing better is published: it tells damage, and not a forgery.
        unpacked: Bytes after unpacking, for a file packed by gzip; None for one that stays as it is.
    """

    name: str
    urls: tuple[str, ...]
    size: int
    digest: Digest
    unpacked: int | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be fetched safely.

        Raises:
            DataError: The name is a path, the size is no size or the digest is none.
        """
        kind, value = self.digest
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.name):
            raise DataError(f"file '{self.name}' is no name of letters, digits, '.', '_' and '-': rename it.")
        if self.size < 1 or not self.urls or not re.fullmatch(rf"[0-9a-f]{{{_LENGTHS[kind]}}}", value):
            raise DataError(f"'{self.name}' needs an address, a size in bytes and a {kind} of {_LENGTHS[kind]} digits.")


def _idx(folders: tuple[str, ...], half: str, images: tuple[int, str], labels: tuple[int, str]) -> list[PublishedFile]:
    """The two files of one half of an MNIST-like set, of 28x28 images."""
    count = 60_000 if half == "train" else 10_000
    found = []
    for kind, (size, sha256), unpacked in (
        ("images-idx3", images, 16 + count * 28 * 28),
        ("labels-idx1", labels, 8 + count),
    ):
        name = f"{half}-{kind}-ubyte.gz"
        urls = tuple(folder + name for folder in folders)
        found.append(PublishedFile(name, urls, size, ("sha256", sha256), unpacked))
    return found


_MNIST = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
_FASHION = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
_KMNIST = ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",)

IDX: dict[str, dict[str, list[PublishedFile]]] = {
    "MNIST": {
        "train": _idx(
            _MNIST, "train",
            (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ),
        "t10k": _idx(
            _MNIST, "t10k",
            (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    },
    "FashionMNIST": {
        "train": _idx(
            _FASHION, "train",
            (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ),
        "t10k": _idx(
            _FASHION, "t10k",
            (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
    },
    "KMNIST": {
        "train": _idx(
            _KMNIST, "train",
            (18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
            (29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        ),
        "t10k": _idx(
            _KMNIST, "t10k",
            (3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
            (5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
        ),
    },
}  # fmt: skip
"""torchvision's data set -> its halves -> images and labels."""


@dataclass(frozen=True)
class Batches:
    """One of CIFAR's archives for Python, and the files in it that hold images.

    Attributes:
        archive: The tar.gz file.
        folder: The folder that it unpacks to.
        files: By half, the files in that folder in order, each with its md5.
        count: Images of each file.
        labels: The entry of a file that has its labels: the fine ones.
    """

    archive: PublishedFile
    folder: str
    files: dict[Literal["train", "test"], dict[str, str]]
    count: dict[Literal["train", "test"], int]
    labels: str


_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"

BATCHES = {
    "CIFAR10": Batches(
        PublishedFile(
            "cifar-10-python.tar.gz",
            (f"{_CIFAR}cifar-10-python.tar.gz", f"{_KERAS}cifar-10-python.tar.gz"),
            170_498_071,
            ("sha256", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
        ),
        "cifar-10-batches-py",
        {
            "train": {
                "data_batch_1": "c99cafc152244af753f735de768cd75f",
                "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "634d18415352ddfa80567beed471001a",
                "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            },
            "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
        },
        {"train": 10_000, "test": 10_000},
        "labels",
    ),
    "CIFAR100": Batches(
        PublishedFile(
            "cifar-100-python.tar.gz",
            (f"{_CIFAR}cifar-100-python.tar.gz",),
            169_001_437,
            ("sha256", "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"),
        ),
        "cifar-100-python",
        {
            "train": {"train": "16019d7e3df5f24257cddd939b257f8d"},
            "test": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        },
        {"train": 50_000, "test": 10_000},
        "fine_labels",
    ),
}
"""torchvision's data set -> the archive that it reads, with torchvision's md5 of each file in it."""

IDX_COPIES = {"kmnist_test.npz": ("KMNIST", "t10k")}
"""A card's npz file -> the data set of `IDX` and the half of it that it is a copy of."""
