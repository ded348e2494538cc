"""Networks of others by name: `torchvision:`, `timm:`, `hf:` and `file:`, made without weights of theirs.

What stands after the colon is looked up in a list of the library, and never imported; weights come from the card's
files alone, so that nothing is unpickled or fetched behind a card's back.
"""

import difflib
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from bench.detectors.adapters.exported import Program, read_checked, read_program
from bench.errors import CardError, UsageError
from bench.lazy import lazily
from bench.places import expanded

with lazily():
    from torchvision import models

Maker = Callable[[str, Mapping[str, Any]], nn.Module]

_OPSET = 17
"""The version of ONNX's operators that graphs are brought to: the one that onnx2torch knows best."""

_WEIGHTS = ("pretrained", "weights", "weights_backbone", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")
"""Arguments by which libraries fetch or unpickle weights."""


def make_named(method: str, args: Mapping[str, Any]) -> nn.Module:
    """The module that a name stands for, initialised as its library does it.

    Args:
        method: `KIND:WHAT`, with a kind of `KINDS`.
        args: The card's arguments.

    Raises:
        UsageError: The library is not installed or knows no such network.
        CardError: The arguments cannot be used.
    """
    kind, _, what = method.partition(":")
    for name in _WEIGHTS:
        if name in args:
            raise CardError(
                f"network '{method}' has the argument '{name}'; weights are named by the card's own `weights`, as "
                "safetensors: leave it out."
            )
    return KINDS[kind](what, args)


def _torchvision(what: str, args: Mapping[str, Any]) -> nn.Module:
    _check_known(f"torchvision:{what}", what, models.list_models())
    return _made(f"torchvision:{what}", lambda: models.get_model(what, weights=None, **_without_backbone(what, args)))


def _without_backbone(what: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Two of torchvision's classifiers initialise themselves for minutes unless they are told not to."""
    slow = {"init_weights": False} if what in ("googlenet", "inception_v3") else {}
    return {**slow, **args}


def _timm(what: str, args: Mapping[str, Any]) -> nn.Module:
    timm = _library("timm", "timm", f"timm:{what}")
    _check_known(f"timm:{what}", what.partition(".")[0], timm.list_models())
    return _made(f"timm:{what}", lambda: timm.create_model(what.partition(".")[0], pretrained=False, **args))


def _hugging_face(what: str, args: Mapping[str, Any]) -> nn.Module:
    """From the configuration in the card, or else in a folder or the hub's local cache; nothing is fetched."""
    transformers = _library("transformers", "hf", f"hf:{what}")
    settings = dict(args)
    config = settings.pop("config", None)
    revision = settings.pop("revision", None)
    if settings:
        raise CardError(f"network 'hf:{what}' has the argument '{min(settings)}'; allowed are config and revision.")

    def make() -> nn.Module:
        if config is not None:
            given = dict(config)
            kind = given.pop("model_type", what)
            resolved = transformers.AutoConfig.for_model(kind, **given)
        else:
            resolved = _local_config(transformers, what, revision)
        made: nn.Module = transformers.AutoModelForImageClassification.from_config(resolved, trust_remote_code=False)
        return made

    return _made(f"hf:{what}", make)


def _local_config(transformers: Any, what: str, revision: str | None) -> Any:
    """A configuration that is on this machine; looking for it elsewhere takes minutes where there is no network."""
    try:
        return transformers.AutoConfig.from_pretrained(
            what, revision=revision, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # a library's own errors are of any kind
        raise UsageError(
            f"network 'hf:{what}' has no config in its args, and no config of it is on this machine; write it into the "
            f"card (args: {{config: {{model_type: vit, ...}}}}), or fetch it by `hf download {what} config.json`."
        ) from error


def _file(what: str, args: Mapping[str, Any]) -> nn.Module:
    """An exported program, as `bench.detectors.adapters.exported` reads it, or an ONNX graph."""
    if set(args) != {"sha256"}:
        raise CardError(f"network 'file:{what}' must have one argument, sha256, that of the file; correct the card.")
    file = expanded(what, f"program '{what}'")
    if file.suffix == ".onnx":
        return _onnx(file, str(args["sha256"]))
    return Program(read_program(file, str(args["sha256"])))


def _onnx(file: Path, sha256: str) -> nn.Module:
    onnx, onnx2torch = (_library(name, "onnx", f"file:{file}") for name in ("onnx", "onnx2torch"))
    import_module("onnx.version_converter")
    # Its slices are taken by a list, of which torch warns in every process.
    warnings.filterwarnings("ignore", message="Using a non-tuple sequence", module=r"onnx2torch\..*")
    content = read_checked(file, sha256)

    def make() -> nn.Module:
        graph = onnx.version_converter.convert_version(onnx.load_model_from_string(content), _OPSET)
        made: nn.Module = onnx2torch.convert(graph)
        return made

    return _made(f"file:{file}", make)


KINDS: dict[str, Maker] = {"torchvision": _torchvision, "timm": _timm, "hf": _hugging_face, "file": _file}
"""What may stand before the colon."""


def _library(module: str, extra: str, method: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise UsageError(
            f"network '{method}' needs the library {module}, which is not here; "
            f"install it with `pip install 'robustood[{extra}]'`."
        ) from None


def _check_known(method: str, what: str, known: Sequence[str]) -> None:
    if what not in known:
        near = difflib.get_close_matches(what[:80], known, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it knows {len(known)}, such as {known[0]}."
        raise UsageError(f"{method.partition(':')[0]} has no network '{what[:80]}'; {hint}")


def _made(method: str, make: Callable[[], nn.Module]) -> nn.Module:
    """What a library makes; whatever it raises is one sentence."""
    try:
        return make()
    except UsageError:
        raise
    except Exception as error:  # a library's own errors are of any kind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise CardError(f"network '{method}' cannot be made from its args ({reason}); correct the card.") from error
