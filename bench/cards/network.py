"""The card of a network: a trained model, its way from pixels, its layers, its weights and its recipe."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer

from bench.cards.base import Card, MethodPath, Name, Paper, RelativeFile, Sha256, Text

NetworkPath = Annotated[
    str,
    StringConstraints(
        pattern=r"^((torchvision|timm|hf|file):[^\x00-\x1f]+|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$", max_length=200
    ),
]
LayerName = Annotated[str, StringConstraints(min_length=1, max_length=200)]

LIBRARIES = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers", "file": "onnx2torch"}
"""What stands before the colon of a network's method where it is no module of code, and the library that makes it."""


def is_named(method: str) -> bool:
    """Whether a network's method names one of a library or a file, not code."""
    return method.partition(":")[0] in LIBRARIES


def library_version(method: str) -> str:
    """Name and version of the library that makes such a network, which may change it; empty for code and where absent.

    A program is its file's own content; only ONNX graphs are rebuilt by a library.
    """
    kind, _, what = method.partition(":")
    if not is_named(method) or (kind == "file" and not what.endswith(".onnx")):
        return ""
    try:
        return f"{LIBRARIES[kind]} {version(LIBRARIES[kind])}"
    except PackageNotFoundError:
        return ""


class LayersSpec(Card):
    """Which modules inside a network give its activations, by their dotted names; what is None is found by itself."""

    penultimate: LayerName | None = None  # the module whose output counts; else what the layer of the logits is given
    logits: LayerName | None = None  # a module, or "output" for what the network returns; else its last linear layer
    # modules whose outputs are further activations, from input to output; else its stages
    hidden: tuple[LayerName, ...] | None = Field(default=None, max_length=64)


class NetworkSpec(Card):
    """The network behind a detector, and what happens to an image before it."""

    method: NetworkPath  # package.module:function, torchvision:NAME, timm:NAME, hf:ORG/NAME or file:PATH
    args: dict[str, Any] = {}
    crop: int | None = Field(default=None, ge=1)  # centre crop, the exact inverse of a track's zero padding
    resize: int | None = Field(default=None, ge=1, le=4096)  # side that images are brought to after the crop
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layers: LayersSpec | None = None  # the modules that give its activations; None finds them

    @model_serializer(mode="wrap")
    def _without_what_is_not_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A dump names resize and layers where they are given: networks of before them have the hashes they had."""
        content: dict[str, Any] = handler(self)
        return {name: value for name, value in content.items() if value is not None or name not in ("resize", "layers")}


class WeightsSpec(Card):
    """A safetensors file below `detectors/weights` of a workspace, or in the weights cache."""

    file: RelativeFile
    sha256: Sha256 | None = None
    source: Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=500)] | None = None
    network_only: bool = Field(default=False, exclude=True)  # of a trained detector's file, what is its network's


class TrainingSpec(Card):
    """The recipe that makes the last of the weights files."""

    recipe: MethodPath
    args: dict[str, Any] = {}
    seed: int = 0


class RecordedSpec(Card):
    """Figures that were measured with these weights, so that a wrong checkpoint is noticed."""

    id_accuracy: float | None = Field(default=None, ge=0, le=1)
    clean_auroc: float | None = Field(default=None, ge=0, le=1)  # mean over natural OOD sets


@dataclass(frozen=True)
class Base:
    """What a score stands on: a network on one track, from its own card or from a trained detector's.

    Attributes:
        name: Of the network's card, or of the detector.
        default: It is the track's own network, which names of detectors leave out.
    """

    name: str
    default: bool
    network: NetworkSpec
    weights: tuple[WeightsSpec, ...]
    training: TrainingSpec | None
    recorded: RecordedSpec
    micro_batch: int | None


class NetworkCard(NetworkSpec):
    """A trained model: what makes it, its way from pixels, its layers, its weights, and the track it is for."""

    name: Name
    version: int = Field(default=1, ge=1)
    summary: Text
    paper: Paper | None = None
    track: Name
    weights: tuple[WeightsSpec, ...] = ()
    training: TrainingSpec | None = None
    recorded: RecordedSpec = RecordedSpec()  # its ID accuracy
    micro_batch: int | None = Field(default=None, ge=1, le=4096)  # images a pass

    def base(self, track: str, *, default: bool = False) -> Base:
        """What a score on it stands on.

        Args:
            track: Where it is used; what was measured on another one says nothing there.
            default: It is the track's own.
        """
        network = NetworkSpec(**{name: getattr(self, name) for name in NetworkSpec.model_fields})
        recorded = self.recorded if track == self.track else RecordedSpec()
        return Base(self.name, default, network, self.weights, self.training, recorded, self.micro_batch)
