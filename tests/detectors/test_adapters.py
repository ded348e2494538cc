"""Callables and exported programs behind the scoring interface."""

import copy
import io
import itertools
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.detectors.adapters import exported as programs
from bench.detectors.adapters.callable import CallableDetector, CallableParams
from bench.detectors.adapters.exported import ExportedDetector, ExportedParams
from bench.detectors.adapters.outputs import OutputDetector
from bench.detectors.base import Detector
from bench.detectors.boundary import admit
from bench.detectors.untouched import untouched
from bench.detectors.weights import file_sha256
from bench.errors import UsageError
from bench.testing.detectors import (
    DETECTOR_CHECKS,
    DetectorCase,
    check_saved_and_loaded_it_gives_the_same_bits,
)

SHAPE, CLASSES = (1, 8, 8), 3
SOURCE = """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 3, generator=generator)

    def score(x):
        return torch.tanh(x.flatten(1) @ weight[:, 0].to(x.dtype))

    def column(x):
        return score(x)[:, None]

    def logits(x):
        return x.flatten(1) @ weight.to(x.dtype)

    def two_logits(x):
        return logits(x)[:, :2]

    def black_box(x):
        return score(x).numpy()

    scale = torch.ones(1, requires_grad=True)

    def looks_away(x):
        return scale * score(x.detach())

    def writes(x):
        with torch.no_grad():
            return score(x).clone() + 0 * x.mul_(0.5).sum()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 1)

        def forward(self, x):
            return self.linear(x.flatten(1))

    class WithScore(Model):
        def score(self, x):
            return -self(x)[:, 0]

    torch.manual_seed(0)
    model = Model()
    with_score = WithScore()
    number = 3

    def of_every_pixel(x):
        return x

    def one_for_all(x):
        return x.mean()

    def text(x):
        return "high"

    def nan(x):
        return score(x) * float("nan")

    def boom(x):
        raise KeyError("layer")
"""
_numbers = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """The name of a module of one's own in the current folder."""
    name = f"own_{next(_numbers)}"
    lines = [line.removeprefix("    ") for line in SOURCE.splitlines()]
    (tmp_path / f"{name}.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    return name


def from_callable(target: str) -> Detector:
    params = CallableParams(target=target)
    return admit(CallableDetector(None, shape=SHAPE, classes=CLASSES, params=params), f"'{target}'")


def from_file(path: Path) -> ExportedDetector:
    params = ExportedParams(path=str(path), sha256=file_sha256(path))
    return ExportedDetector(None, shape=SHAPE, classes=CLASSES, params=params).eval()


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        return self.linear(nn.functional.silu(x.flatten(1)))


def exported(model: nn.Module, file: Path, *, any_number: bool = True) -> Path:
    shapes = ({0: torch.export.Dim("n")},) if any_number else None
    torch.export.save(torch.export.export(model, (torch.zeros(2, *SHAPE),), dynamic_shapes=shapes), file)
    return file


def scripted(model: nn.Module, file: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.trace(model, torch.zeros(2, *SHAPE)), file)
    return file


@pytest.fixture(params=["score", "logits", "black_box", "model", "export", "script"])
def case(request, module, tmp_path, images):
    if request.param == "export":
        return DetectorCase(from_file(exported(Classifier(), tmp_path / "m.pt2")), images)
    if request.param == "script":
        return DetectorCase(from_file(scripted(Classifier(), tmp_path / "m.pt")), images)
    return DetectorCase(from_callable(f"{module}:{request.param}"), images)


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_an_adapted_model_keeps_the_contract(check, case):
    if check is check_saved_and_loaded_it_gives_the_same_bits and case.detector.lent:
        pytest.skip("what is lent keeps its state with its owner")
    check(case)


@pytest.mark.parametrize("name", ["score", "column", "black_box"])
def test_one_number_an_image_is_the_score(name, module, images):
    detector = from_callable(f"{module}:{name}")
    weight = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(detector.score(images), torch.tanh(images.flatten(1) @ weight[:, 0]))
    assert detector.logits(images) is None


def test_logits_are_scored_by_their_energy(module, images):
    detector = from_callable(f"{module}:logits")
    weight = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(detector.score(images), (images.flatten(1) @ weight).exp().sum(dim=1).log(), rtol=1e-5)
    assert torch.allclose(detector.logits(images), images.flatten(1) @ weight)
    assert detector.info.classifier


def test_logits_of_other_classes_than_the_tracks_are_no_prediction(module, images):
    detector = from_callable(f"{module}:two_logits")
    assert detector.logits(images) is None and not detector.info.classifier


def test_whether_there_is_a_gradient_is_found_out(module):
    assert from_callable(f"{module}:score").info.differentiable
    assert not from_callable(f"{module}:black_box").info.differentiable
    assert not from_callable(f"{module}:looks_away").info.differentiable  # its gradient is one in its own weights
    assert CallableDetector.info.differentiable  # what one instance found says nothing of the class


def test_a_black_box_scores_images_that_require_a_gradient(module, images):
    scores = from_callable(f"{module}:black_box").score(images.clone().requires_grad_(True))
    assert not scores.requires_grad
    assert torch.equal(scores, from_callable(f"{module}:score").score(images))


def test_a_function_that_writes_into_its_images_does_not_change_them(module, images):
    before = images.clone()
    from_callable(f"{module}:writes").score(images)
    assert torch.equal(images, before)


def test_a_module_is_asked_for_its_score_where_it_has_one(module, images):
    detector = from_callable(f"{module}:with_score")
    (linear,) = [each for each in detector.modules() if isinstance(each, nn.Linear)]
    assert torch.allclose(detector.score(images), -linear(images.flatten(1))[:, 0])


def test_a_module_of_ones_own_is_left_as_it_was(module, images):
    detector = from_callable(f"{module}:model")
    with untouched(detector):
        detector.score(images)
        assert not detector.inner.owner.training
    original = __import__(module).model
    assert detector.inner.owner is original
    assert original.training and original.linear.weight.requires_grad


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("absent_module:score", "there is no module 'absent_module'"),
        ("MODULE:scores", "has no 'scores'; did you mean score"),
        ("MODULE:Model", "is the class Model; allowed: a function, or an nn.Module that is made"),
        ("MODULE:number", "is of type int"),
        ("MODULE:of_every_pixel", r"returns shape \(2, 1, 8, 8\) for 2 images"),
        ("MODULE:one_for_all", r"returns shape \(1,\) for 2 images"),
        ("MODULE:text", "returns something of type str"),
        ("MODULE:nan", "returns NaN"),
        ("MODULE:boom", "cannot score 2 images .*KeyError: 'layer'"),
    ],
)
def test_a_callable_that_cannot_be_used_is_one_sentence(target, sentence, module):
    with pytest.raises(UsageError, match=sentence) as error:
        from_callable(target.replace("MODULE", module))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("write", [exported, scripted], ids=["export", "script"])
def test_a_program_scores_as_its_model_does(write, tmp_path, images):
    model = Classifier()
    detector = from_file(write(model, tmp_path / ("m.pt2" if write is exported else "m.pt")))
    assert torch.allclose(detector.score(images), torch.logsumexp(model(images), dim=1), rtol=1e-6)
    assert torch.allclose(detector.logits(images), model(images), rtol=1e-6)
    copied = copy.deepcopy(detector).train().eval()
    assert torch.equal(copied.score(images), detector.score(images))


def test_an_export_for_one_number_of_images_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot score 3 images"):
        from_file(exported(Classifier(), tmp_path / "m.pt2", any_number=False))


@pytest.mark.parametrize("name", ["m.pt", "m.pt2"])
@pytest.mark.parametrize("content", [b"", b"not a program", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_program_is_one_sentence(name, content, tmp_path, caplog):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match="is not what torch") as error:
        from_file(tmp_path / name)
    assert "\n" not in str(error.value) and not caplog.records


def test_weights_alone_are_no_program(tmp_path):
    torch.save(Classifier().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=r"is not what torch\.jit\.save"):
        from_file(tmp_path / "weights.pt")


def test_a_file_that_changed_since_it_was_named_is_refused(tmp_path):
    file = exported(Classifier(), tmp_path / "m.pt2")
    params = ExportedParams(path=str(file), sha256="0" * 64)
    with pytest.raises(UsageError, match="expected was 0000"):
        ExportedDetector(None, shape=SHAPE, classes=CLASSES, params=params)


class Bomb:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def with_member(file: Path, end: str, content: bytes) -> None:
    """Replace one member of an archive, or add it."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(members)).partition("/")[0]
    with zipfile.ZipFile(file, "w") as archive:
        for name, old in (members | {f"{root}/{end}": content}).items():
            archive.writestr(name, old if not name.endswith(end) else content)


def test_objects_in_an_export_are_not_unpickled(tmp_path):
    file = exported(Classifier(), tmp_path / "m.pt2")
    buffer = io.BytesIO()
    torch.save(Bomb(tmp_path / "executed"), buffer)
    with_member(file, "data/sample_inputs/model.pt", buffer.getvalue())
    with pytest.raises(UsageError, match="is not what torch"):
        from_file(file)
    assert not (tmp_path / "executed").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_an_export_with_a_pickled_constant_is_refused(tmp_path):
    file = exported(Classifier(), tmp_path / "m.pt2")
    with_member(file, "data/constants/opaque_obj_0", pickle.dumps(Bomb(tmp_path / "executed")))
    with pytest.raises(UsageError, match="holds a pickled object"):
        from_file(file)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(("columns", "components"), [(2, ("classifier",)), (1, ())])
def test_a_function_has_a_classifier_inside_where_it_gives_logits(columns, components):
    detector = OutputDetector(None, shape=(1, 4, 4), classes=2, params=OutputDetector.Params())
    detector.wrap(lambda x: torch.stack([x.flatten(1).mean(1), x.flatten(1)[:, 0]], dim=1)[:, :columns], "two")
    assert (detector.info.classifier, detector.info.components) == (columns == 2, components)


def test_a_program_may_be_just_as_large_as_the_limit(tmp_path, monkeypatch):
    file = tmp_path / "p.pt2"
    file.write_bytes(b"12345")
    monkeypatch.setattr(programs, "SIZE_LIMIT", 5)
    assert programs.read_checked(file, file_sha256(file)) == b"12345"
    monkeypatch.setattr(programs, "SIZE_LIMIT", 4)
    with pytest.raises(UsageError, match="has 5 bytes; allowed are 4"):
        programs.read_checked(file, file_sha256(file))
