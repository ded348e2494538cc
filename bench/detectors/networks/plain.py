"""Networks of others: any `nn.Module` from images to logits, its activations taken by hooks while it runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.detectors.adapters.reading import read_output
from bench.detectors.networks.base import Network
from bench.detectors.networks.head import linear_parts
from bench.errors import NotFittableError, UsageError

OUTPUT = "output"
"""The name of what the module itself returns, where a card asks for it as logits."""
MOST_LAYERS = 8
FEWEST_LAYERS = 3
"""So many layers are named without being asked for, at most and, where there are so many, at least."""
_AGREEMENT, _ROUNDING = 1e-3, 1e-5
"""Two passes may differ by this share of what the logits differ between images, or this share of the logits."""


class PlainNetwork(Network):
    """A module that needs nothing but `forward`, as a network with named activations.

    Without names the input of the last linear layer that runs is `penultimate` and its output `logits`; where that is a
    1x1 convolution whose output is averaged over the image, both are averages. What the module returns is read by its
    logits where it is a tuple, a dict or an object (see `read_output`). It is put into evaluation mode and float32; its
    own `forward` stays as it is.

    Args:
        module: From (N, C, H, W) images in its own input scale to logits.
        example: (N, C, H, W) images, N > 1, of the scale and size that it will be given.
        classes: How many logits it must have; None accepts any number.
        name: What a person calls it.
        penultimate: The module inside, by its dotted name, whose output is `penultimate`; None finds it.
        logits: Likewise for the logits; "output" for what the module returns.
        layers: Dotted names of further modules whose outputs are activations, from input to output; None chooses.

    Raises:
        UsageError: It cannot take such images, has no such layers, or gives other logits at every pass.
    """

    trusted = False

    def __init__(
        self,
        module: nn.Module,
        example: Tensor,
        *,
        classes: int | None = None,
        name: str = "the network",
        penultimate: str | None = None,
        logits: str | None = None,
        layers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.module = module.float().eval()
        self.name, self.classes = name, classes
        self.logits_at, self.penultimate_at = logits, penultimate
        self._check_names([*(layers or ()), *(each for each in (penultimate, logits) if each not in (None, OUTPUT))])
        self.averaged = False
        trace = self._first_pass(example)
        self._find_head(trace, example)
        if logits is None and penultimate is None:
            self._check_returned(trace, example)
        named = _chosen_layers(self.module, trace) if layers is None else tuple(layers)
        self.hidden = tuple(layer for layer in named if layer not in (self.penultimate_at, self.logits_at))
        self.has_features = self.penultimate_at is not None or self.logits_at != OUTPUT
        self.layers = (*self.hidden, *(("penultimate",) if self.has_features else ()), "logits")
        self.overwritten = frozenset(layer for layer in self.hidden if layer in trace.overwritten)
        self._check_passes(example)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K) logits."""
        if self.logits_at == OUTPUT:
            return self._read(self.module(x), x)
        return self._seen(x, (), features=False)["logits"]

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Every named activation for (N, C, H, W) images in the network's own input scale."""
        return self._seen(x, self.hidden, features=True)

    def _seen(self, x: Tensor, hidden: Sequence[str], *, features: bool) -> dict[str, Tensor]:
        """One pass of the module and what its hooks saw."""
        found: dict[str, Tensor] = {}
        wanted = {name: self._part(name) for name in hidden}
        with _hooks() as hooks:
            for name, part in wanted.items():
                hooks.append(part.register_forward_hook(_keep(found, name, copy=name in self.overwritten)))
            if self.logits_at != OUTPUT:
                hooks.append(self._part(self.logits_at).register_forward_hook(_keep(found, "logits")))
            if features and self.penultimate_at is not None:
                hooks.append(self._part(self.penultimate_at).register_forward_hook(_keep(found, "penultimate")))
            elif features and self.has_features:
                hooks.append(self._part(self.logits_at).register_forward_pre_hook(_keep_input(found, "penultimate")))
            output = self.module(x)
        if self.logits_at == OUTPUT:
            found["logits"] = self._read(output, x)
        if self.averaged:
            found |= {name: found[name].mean(dim=(2, 3)) for name in ("penultimate", "logits") if name in found}
        found["logits"] = found["logits"].flatten(1) if found["logits"].ndim > 2 else found["logits"]
        if "penultimate" in found:
            found["penultimate"] = found["penultimate"].flatten(1)
        return _Activations(
            {name: found[name] for name in (*hidden, "penultimate", "logits") if name in found}, self.name
        )

    def _part(self, name: str | None) -> nn.Module:
        return self.module.get_submodule(name or "")

    def _read(self, output: Any, x: Tensor) -> Tensor:
        return read_output(output, x, classes=self.classes or 0, name=self.name)

    def _check_names(self, names: Sequence[str]) -> None:
        known = dict(self.module.named_modules())
        for name in names:
            if name not in known or not name:
                near = ", ".join([each for each in known if each][:12])
                raise UsageError(f"{self.name} has no layer '{name}'; its layers begin with: {near}.")

    def _first_pass(self, example: Tensor) -> "_Trace":
        trace = _Trace()
        try:
            with torch.no_grad(), _hooks() as hooks:
                for name, part in self.module.named_modules():
                    hooks.append(part.register_forward_hook(trace.hook(name)))
                trace.output = self.module(example.clone())
        except Exception as error:  # code of others
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise UsageError(
                f"{self.name} cannot take images of shape {tuple(example.shape[1:])} ({reason}); "
                "give the size that it was made for (resize, crop)."
            ) from error
        return trace

    def _averaged_head(self, trace: "_Trace", example: Tensor) -> str | None:
        """The last 1x1 convolution to more than one place, where its averages are what the module returns."""
        calls = [call for call in trace.calls.values() if isinstance(call.part, nn.Conv2d | nn.Linear)]
        last = calls[-1] if calls else None
        if (
            last is None
            or not isinstance(last.part, nn.Conv2d)
            or last.output.ndim != 4
            or last.name in trace.overwritten
        ):
            return None
        if linear_parts(last.part) is None or last.part.stride != (1, 1) or last.output.shape[2:] == (1, 1):
            return None
        averages, returned = last.output.mean(dim=(2, 3)), self._read(trace.output, example).flatten(1)
        same = averages.shape == returned.shape and torch.allclose(averages, returned, rtol=1e-4, atol=1e-5)
        return last.name if same else None

    def _find_head(self, trace: "_Trace", example: Tensor) -> None:
        """Settle what is `logits` and `penultimate`."""
        count = len(example)
        last = trace.last_linear()
        if self.logits_at is None and self.penultimate_at is None and (pooled := self._averaged_head(trace, example)):
            self.logits_at, self.averaged = pooled, True
        if self.logits_at is None:
            if self.penultimate_at is None and last is None:
                if isinstance(trace.output, Tensor) and trace.output.ndim != 2:
                    raise UsageError(
                        f"{self.name} returns shape {tuple(trace.output.shape)} for {count} images; "
                        "return (N, K) logits."
                    )
                raise UsageError(
                    f"the last linear layer of {self.name} cannot be found; name its layers: "
                    "layers: {penultimate: NAME, logits: NAME or output}."
                )
            usable = (
                last is not None
                and last.output.flatten(1).shape[1:] == last.output.shape[1:2]
                and len(last.output) == count
            )
            if usable and last is not None:
                self.logits_at = last.name
            elif self.penultimate_at is not None:
                self.logits_at = OUTPUT
            else:
                shape = tuple(last.output.shape) if last is not None else ()
                raise UsageError(
                    f"the last linear layer of {self.name} gives shape {shape} for {count} images, not (N, K) logits; "
                    "name its layers: layers: {penultimate: NAME, logits: NAME or output}."
                )
        for name in (self.penultimate_at, None if self.logits_at == OUTPUT else self.logits_at):
            if name is not None and name not in trace.calls:
                raise UsageError(f"layer '{name}' of {self.name} does not run; name one that does.")

    def _check_returned(self, trace: "_Trace", example: Tensor) -> None:
        """Raise where the layer that was taken for the logits ranks the classes otherwise than what is returned."""
        if self.averaged or self.logits_at in (None, OUTPUT):
            return
        try:
            returned = self._read(trace.output, example)
        except UsageError:  # several things are returned, and nothing tells which
            return
        logits = trace.calls[str(self.logits_at)].output.flatten(1)
        if returned.shape == logits.shape and torch.equal(returned.argmax(1), logits.argmax(1)):
            return
        raise UsageError(
            f"{self.name} returns {tuple(returned.shape)} for {len(example)} images, other logits than its last linear "
            f"layer '{self.logits_at}' gives ({tuple(logits.shape)}, or another class first); return those, or say "
            f"which are meant in its card: layers: {{logits: {self.logits_at}}}, or {{penultimate: NAME, logits: "
            "output}."
        )

    def _check_passes(self, example: Tensor) -> None:
        """Raise unless the logits are (N, K), as many as wanted, and those of an image alone."""
        with torch.no_grad():
            seen = self.activations(example.clone())
            again, alone = self.forward(example.clone()), self.forward(example[:1].clone())
        logits, features = seen["logits"], seen.get("penultimate", seen["logits"])
        if logits.ndim != 2 or len(logits) != len(example):
            raise UsageError(f"{self.name} gives logits of shape {tuple(logits.shape)}; (N, K) is allowed.")
        if self.classes is not None and logits.shape[1] != self.classes:
            raise UsageError(f"{self.name} has {logits.shape[1]} logits and the track {self.classes} classes.")
        if len(features) != len(example):
            raise UsageError(f"{self.name} gives features of shape {tuple(features.shape)} for {len(example)} images.")
        scale = max(_AGREEMENT * float(logits.std(0).mean()), _ROUNDING * float(logits.abs().max()))
        if not torch.allclose(logits, again, rtol=0, atol=scale):
            raise UsageError(f"{self.name} gives other logits for the same images; turn off what is random in it.")
        if not torch.allclose(logits[:1], alone, rtol=0, atol=scale):
            raise UsageError(f"{self.name} gives an image other logits in other company; score images one by one.")


class _Activations(dict[str, Tensor]):
    """Activations by name; one that the network has not is one sentence.

    Args:
        found: Those it has.
        name: What a person calls the network.
    """

    def __init__(self, found: Mapping[str, Tensor], name: str) -> None:
        super().__init__(found)
        self.name = name

    def __missing__(self, layer: str) -> Tensor:
        raise NotFittableError(
            f"{self.name} has no layer '{layer}', of which this score is; name it in the network's card (layers: "
            f"{{{layer}: NAME}}), or choose a score of logits, such as energy."
        )


class _Call:
    """What one module inside took and gave when it ran last."""

    def __init__(self, name: str, part: nn.Module, output: Tensor) -> None:
        self.name, self.part, self.output = name, part, output
        self.version = output._version


class _Trace:
    """One pass, module by module."""

    def __init__(self) -> None:
        self.calls: dict[str, _Call] = {}
        self.output: Any = None

    def hook(self, name: str) -> Any:
        """Writes down what this module gives."""

        def note(part: nn.Module, _: Any, output: Any) -> None:
            given = _tensor_of(output)
            if given is not None:
                self.calls.pop(name, None)  # in the order of the last calls
                self.calls[name] = _Call(name, part, given)

        return note

    def last_linear(self) -> _Call | None:
        """The last linear layer that ran, also one that is written as a convolution of one place."""
        found = [call for call in self.calls.values() if _is_linear(call)]
        return found[-1] if found else None

    @property
    def overwritten(self) -> set[str]:
        """Modules whose output was written into after they gave it."""
        return {name for name, call in self.calls.items() if call.output._version != call.version}


def _is_linear(call: _Call) -> bool:
    if isinstance(call.part, nn.Conv2d):
        return linear_parts(call.part) is not None and call.output.shape[2:] == (1, 1)
    return isinstance(call.part, nn.Linear)


def _tensor_of(output: Any) -> Tensor | None:
    """The tensor that a module gives, the first of several."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    output = getattr(output, "last_hidden_state", output)
    return output if isinstance(output, Tensor) else None


def _chosen_layers(module: nn.Module, trace: _Trace) -> tuple[str, ...]:
    """The stages of a network: parts with parameters and maps or tokens as output, none of them inside another.

    It begins with the parts of the first level; while there are fewer than `FEWEST_LAYERS`, the one with the most
    parameters gives way to its own parts.
    """
    parts = dict(module.named_modules())
    order = list(trace.calls)
    stages = _stages_in("", module, trace)
    tried: set[str] = set()
    while len(stages) < FEWEST_LAYERS:
        # Before there is a stage, also parts that give no tensor (a backbone that gives an object) are looked into.
        names = stages or [name for name, part in parts.items() if name.count(".") == 0 and name and _has_weights(part)]
        left = [name for name in names if name not in tried]
        if not left:
            break
        widest = max(left, key=lambda name: sum(parameter.numel() for parameter in parts[name].parameters()))
        tried.add(widest)
        inner = _stages_in(f"{widest}.", parts[widest], trace)
        if len(inner) > 1 or (inner and widest not in stages):
            stages = [name for name in stages if name != widest] + inner
    stages.sort(key=order.index)
    step = max(-(-len(stages) // MOST_LAYERS), 1)
    return tuple(stages[::-1][::step][::-1])


def _stages_in(prefix: str, level: nn.Module, trace: _Trace) -> list[str]:
    """The stages among the parts of one module; of a part that is only a container, those inside it."""
    found: list[str] = []
    for name, child in level.named_children():
        full = f"{prefix}{name}"
        if not _has_weights(child) or "norm" in type(child).__name__.lower():
            continue
        if full in trace.calls and trace.calls[full].output.ndim in (3, 4):
            found.append(full)
        elif full not in trace.calls:
            found += _stages_in(f"{full}.", child, trace)
    return found


def _has_weights(part: nn.Module) -> bool:
    return next(part.parameters(), None) is not None


def _keep(found: dict[str, Tensor], name: str, *, copy: bool = False) -> Any:
    def note(_: nn.Module, __: Any, output: Any) -> None:
        given = _tensor_of(output)
        assert given is not None
        if given.ndim == 3:  # (N, tokens, D): as maps of D channels, which is how layers are read
            given = given.transpose(1, 2)[..., None]
        found[name] = given.clone() if copy else given

    return note


def _keep_input(found: dict[str, Tensor], name: str) -> Any:
    def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        found[name] = given[0]

    return note


@contextmanager
def _hooks() -> Iterator[list[Any]]:
    """Handles of hooks that are taken off at the end."""
    handles: list[Any] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


def found_parts(network: PlainNetwork) -> Mapping[str, str]:
    """What was found, for people: the activation's name and the module that gives it."""
    averaged = ", averaged over the image" if network.averaged else ""
    head = network.penultimate_at or (f"the input of {network.logits_at}{averaged}" if network.has_features else "none")
    return {
        "penultimate": head,
        "logits": f"{network.logits_at}{averaged}",
        "layers": ", ".join(network.hidden) or "none",
    }
