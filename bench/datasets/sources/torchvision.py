"""torchvision's data sets, where their files are present: MNIST and its relatives, CIFAR-10 and CIFAR-100."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.datasets.base import RawImages
from bench.datasets.sources._args import SourceArgs
from bench.datasets.sources._cifar import load_cifar
from bench.datasets.sources._files import missing
from bench.errors import DataError
from bench.lazy import lazily

with lazily():
    from torchvision import datasets

FILES = tuple(f"{half}-{kind}-ubyte" for half in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
"""What torchvision wants to be there, whichever half is read."""


class TorchvisionArgs(SourceArgs):
    """A class of torchvision.datasets, and which half of it."""

    dataset: Literal["MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100"]
    train: bool


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """The images (N, 28, 28, 1), of CIFAR (N, 32, 32, 3), and labels of one half; nothing is ever downloaded here.

    MNIST's relatives lie in `NAME/raw`. CIFAR is read from torchvision's folder `cifar-10-batches-py` or
    `cifar-100-python`, or else straight from the archive of it, `cifar-10-python.tar.gz` or `cifar-100-python.tar.gz`.
    Each of its files must have torchvision's md5, and of its pickles only lists, dictionaries, numbers, text and arrays
    of bytes are read: nothing that such a file names is ever called.

    Raises:
        DataError: The files are missing or damaged.
    """
    wanted = TorchvisionArgs.parse(args, "torchvision")
    if wanted.dataset in ("CIFAR10", "CIFAR100"):
        return load_cifar(wanted.dataset, "train" if wanted.train else "test", data_dir)
    folder = data_dir / wanted.dataset / "raw"
    if not folder.is_dir():  # before torchvision is imported, which takes seconds
        raise missing(f"torchvision's {wanted.dataset}", folder)
    if absent := [name for name in FILES if not (folder / name).is_file()]:
        raise missing(f"{absent[0]} of torchvision's {wanted.dataset}", folder)

    try:
        found = getattr(datasets, wanted.dataset)(data_dir, train=wanted.train, download=False)
    except Exception as error:  # torch and torchvision have no error of their own for a file that is cut or changed
        raise DataError(
            f"the files of {wanted.dataset} in {folder} are damaged: remove and fetch them again."
        ) from error
    images = np.ascontiguousarray(found.data.numpy()[..., None])
    return RawImages(images, found.targets.numpy().astype(np.int64))
