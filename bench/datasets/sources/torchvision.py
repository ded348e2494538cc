"""torchvision's data sets in the idx format, where their files are present: MNIST and its relatives."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.datasets.base import RawImages
from bench.datasets.sources._args import SourceArgs
from bench.datasets.sources._files import missing
from bench.errors import DataError


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
    import torchvision.datasets

    try:
        found = getattr(torchvision.datasets, wanted.dataset)(data_dir, train=wanted.train, download=False)
    except RuntimeError as error:
        raise missing(f"a file of torchvision's {wanted.dataset}", folder) from error
    except (OSError, ValueError, AssertionError) as error:
        raise DataError(
            f"the files of {wanted.dataset} in {folder} are damaged: remove and fetch them again."
        ) from error
    images = np.ascontiguousarray(found.data.numpy()[..., None])
    return RawImages(images, found.targets.numpy().astype(np.int64))
