"""In which arithmetic an attack may search; nothing here imports torch."""

from dataclasses import dataclass
from enum import StrEnum


class Precision(StrEnum):
    """The arithmetic of the first half of an attack's steps; scores that are reported are always of full float32."""

    FLOAT32 = "float32"
    TF32 = "tf32"
    BF16 = "bf16"
    AUTO = "auto"


@dataclass(frozen=True)
class SearchPrecision:
    """How the first half of an attack's steps is made cheaper.

    Attributes:
        precision: The arithmetic; `AUTO` takes the fastest that the device declares to have.
        compiled: Whether torch.compile makes one program of the network, with a CUDA graph on a GPU.
    """

    precision: Precision = Precision.FLOAT32
    compiled: bool = False

    def __str__(self) -> str:
        """As a cell names it."""
        return f"{self.precision.value} compiled" if self.compiled else self.precision.value

    @property
    def none(self) -> bool:
        """Whether all steps ask the detector itself."""
        return self.precision is Precision.FLOAT32 and not self.compiled


FULL_PRECISION = SearchPrecision()
"""All steps ask the detector itself."""
