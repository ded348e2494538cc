"""torchvision's data sets in the idx format, where their files are present: MNIST and its relatives."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.datasets.base import RawImages
from bench.datasets.sources._args import SourceArgs
from bench.datasets.sources._files import missing
from bench.errors import DataError

FILES = tuple(f"{half}-{kind}-ubyte" for half in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
"""What torchvision wants to be there, whichever half is read."""


class TorchvisionArgs(SourceArgs):
    """A class of torchvision.datasets, and which half of it.

    Only classes whose files hold plain arrays: torchvision would unpickle those of CIFAR. Their images come as `.npz`.
    """

    dataset: Literal["MNIST", "FashionMNIST", "KMNIST"]
    train: bool


def load(args: dict[str, Any], data_dir: Path) -> RawImages:
    """The images (N, 28, 28, 1) and labels of one half; nothing is ever downloaded here.

    Raises:
        DataError: The files are missing or damaged.
    """
    wanted = TorchvisionArgs.parse(args, "torchvision")
    folder = data_dir / wanted.dataset / "raw"
    if not folder.is_dir():  # before torchvision is imported, which takes seconds
        raise missing(f"torchvision's {wanted.dataset}", folder)
    if absent := [name for name in FILES if not (folder / name).is_file()]:
        raise missing(f"{absent[0]} of torchvision's {wanted.dataset}", folder)
    import torchvision.datasets

    try:
        found = getattr(torchvision.datasets, wanted.dataset)(data_dir, train=wanted.train, download=False)
    except Exception as error:  # torch and torchvision have no error of their own for a file that is cut or changed
        raise DataError(
            f"the files of {wanted.dataset} in {folder} are damaged: remove and fetch them again."
        ) from error
    images = np.ascontiguousarray(found.data.numpy()[..., None])
    return RawImages(images, found.targets.numpy().astype(np.int64))
