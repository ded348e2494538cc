"""How often an attack waits for the device: every operation whose answer Python, or the shape of a tensor, depends on.

On a GPU the queue of operations runs dry at each of them. Counting needs no GPU: the operations are the same, once what
is asked on a CPU alone is left out as it is there.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.threat_models import geometry

_WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_dim"}


class Waits(TorchDispatchMode):
    """Counts them while it is entered: scalars read, rows found or chosen by a boolean mask, values listed.

    `Tensor.tolist` and `Tensor.numpy` read memory without any operation, so that they are counted where they are
    called; so is `Tensor.cpu`, which is free on the CPU alone.
    """

    _LISTING = ("tolist", "numpy", "cpu")

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._originals: dict[str, Callable[..., Any]] = {}

    @property
    def total(self) -> int:
        """All of them."""
        return self.found.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        indexes = name in ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
        masked = indexes and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        # What is repeated so often as a tensor says has a length that is read from it.
        repeated = name == "aten::repeat_interleave" and "Tensor" in func._overloadname
        if name in _WAITING or masked or repeated:
            self.found[name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))

    def __enter__(self) -> "Waits":
        for name in self._LISTING:
            original = getattr(Tensor, name)
            self._originals[name] = original

            def listed(tensor: Tensor, *args: Any, name: str = name, original: Any = original, **kwargs: Any) -> Any:
                self.found[name] += 1
                return original(tensor, *args, **kwargs)

            setattr(Tensor, name, listed)
        self._asking_is_free = geometry.asking_is_free
        geometry.asking_is_free = lambda device: False
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        geometry.asking_is_free = self._asking_is_free
        for name, original in self._originals.items():
            setattr(Tensor, name, original)
