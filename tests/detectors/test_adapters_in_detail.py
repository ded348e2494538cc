"""What is read out of whatever a model of others returns, and how the file of a program is opened."""

import hashlib
import logging
import os
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from bench.detectors.adapters import exported
from bench.detectors.adapters.exported import Program, read_checked
from bench.detectors.adapters.outputs import OutputDetector
from bench.detectors.adapters.reading import read_output
from bench.detectors.base import DetectorParams
from bench.errors import UsageError

X = torch.rand(5, 1, 4, 4)
SCORES, LOGITS, DEEP = torch.arange(5.0), torch.arange(20.0).reshape(5, 4), torch.zeros(5, 7)


def read(output, classes=4):
    return read_output(output, X, classes=classes, name="it")


@dataclass
class Given:
    hidden: torch.Tensor
    out: torch.Tensor


# --------------------------------------------------------------------------- outputs


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (SCORES, SCORES), (LOGITS, LOGITS), (LOGITS.numpy(), LOGITS), ({"logits": SCORES, "x": LOGITS}, SCORES),
        (SimpleNamespace(logits=LOGITS, other=SCORES), LOGITS), ({"a": LOGITS, "b": DEEP}, LOGITS),
        ((DEEP, LOGITS), LOGITS), ([SCORES, "text", X], SCORES), (Given(DEEP, LOGITS), LOGITS),
        ({"a": DEEP, "b": torch.zeros(4, 4), "c": X}, DEEP), ({"logits": None, "a": LOGITS}, LOGITS),
        ({0: SCORES}, SCORES),
    ],
)  # fmt: skip
def test_the_entry_that_is_meant_is_found(output, found):
    assert torch.equal(read(output), found)


@pytest.mark.parametrize(
    ("output", "held"),
    [
        ((SCORES, DEEP), "tuple with 0: (5,), 1: (5, 7)"),
        ((LOGITS, LOGITS), "tuple with 0: (5, 4), 1: (5, 4)"),
        ({"a": X}, "dict with a: (5, 1, 4, 4)"),
        ("text", "str"),
        (None, "NoneType"),
        ({"a": "x"}, "dict"),
        ({"a": torch.zeros(6)}, "dict with a: (6,)"),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_is_there(output, held):
    with pytest.raises(UsageError) as caught:
        read(output)
    assert str(caught.value) == (
        f"it returns something of type {held}; return a tensor or an array of (N,) scores or (N, K) logits, for "
        "example by a function `lambda x: model(x).logits`."
    )


def test_eight_entries_are_listed_and_no_more():
    with pytest.raises(UsageError) as caught:
        read({f"part{k}": X for k in range(9)})
    assert str(caught.value).count("part") == 8


def test_numbers_keep_their_type_where_it_holds_more_and_one_score_is_a_list_of_one():
    types = {kind: read(SCORES.to(kind)).dtype for kind in (torch.float64, torch.float32, torch.float16, torch.int64)}
    assert list(types.values()) == [torch.float64, torch.float32, torch.float32, torch.float64]
    assert read(torch.tensor(3.0)).tolist() == [3.0] and read(np.array(2.0)).tolist() == [2.0]
    with pytest.raises(UsageError, match=r"it returns torch\.complex64; return real numbers"):
        read(SCORES.to(torch.complex64))
    with torch.inference_mode():
        made = SCORES * 2
    assert not read(made).is_inference() and torch.equal(read(made), SCORES * 2)


# --------------------------------------------------------------------------- what a wrapped function gives


class Wraps(OutputDetector):
    def __init__(self, function, classes=4, owner=None):
        super().__init__(None, shape=(1, 4, 4), classes=classes, params=DetectorParams())
        self.wrap(function, "it", owner)


def test_one_column_is_a_score_and_more_are_logits_of_the_track_or_of_others():
    flat = Wraps(lambda x: x.mean((1, 2, 3))[:, None])
    assert torch.allclose(flat.score(X), X.mean((1, 2, 3))) and flat.logits(X) is None
    assert (flat.info.classifier, flat.info.components, flat.title) == (False, (), "it")
    for classes in (4, 3):
        many = Wraps(lambda x: x.flatten(1)[:, :4], classes)
        assert torch.allclose(many.score(X), X.flatten(1)[:, :4].logsumexp(1))
        assert (many.logits(X) is not None) is many.info.classifier is (classes == 4)
    assert many.info.components == () and Wraps(lambda x: x.flatten(1)[:, :4]).info.components == ("classifier",)
    assert not Wraps(lambda x: x.flatten(1)[:, :1], classes=1).info.classifier


@pytest.mark.parametrize(
    ("function", "shape"),
    [(lambda x: x.mean((1, 2, 3))[:1], "(1,)"), (lambda x: x, "(1, 1, 4, 4)"), (lambda x: x[:, 0, 0, :0], "(1, 0)")],
)
def test_another_shape_is_refused(function, shape):
    with pytest.raises(UsageError, match=r"it returns shape .* for \d+ images; return \(N,\) scores, higher for"):
        Wraps(function)


def test_scores_that_are_never_finite_are_refused_and_some_that_are_not_are_left_to_the_cell():
    with pytest.raises(UsageError, match="it returns NaN or infinite numbers; return a finite score"):
        Wraps(lambda x: x.mean((1, 2, 3)) * torch.nan)
    Wraps(lambda x: torch.where(torch.arange(len(x)) == 0, x.mean((1, 2, 3)), torch.nan))


class Owner(nn.Module):
    def objective(self, x):
        return 2 * x.mean((1, 2, 3))

    def logits(self, x):
        return x.flatten(1)[:, :4]

    def bits_per_dim(self, x):
        return x.amax((1, 2, 3))

    def bound(self, x, norm, eps):
        return x.amin((1, 2, 3)) + eps


def test_methods_of_a_module_count_and_its_layers_of_such_names_do_not():
    own = Wraps(lambda x: x.mean((1, 2, 3)), owner=Owner())
    score, objective = own.score_and_objective(X)
    assert torch.allclose(score, X.mean((1, 2, 3))) and torch.allclose(objective, 2 * score)
    assert torch.equal(own.objective(X), objective) and torch.equal(own.logits(X), X.flatten(1)[:, :4])
    assert torch.equal(own.bits_per_dim(X), X.amax((1, 2, 3)))
    assert torch.equal(own.bound(X, None, 0.5), X.amin((1, 2, 3)) + 0.5) and own.info.classifier
    layers = nn.Module()
    layers.objective = layers.logits = nn.Linear(1, 1)
    plain = Wraps(lambda x: x.mean((1, 2, 3)), owner=layers)
    assert plain.logits(X) is plain.bits_per_dim(X) is plain.bound(X, None, 0.5) is None
    score, objective = plain.score_and_objective(X)
    assert score is objective and torch.equal(plain.objective(X), score)


# --------------------------------------------------------------------------- a program's file


def test_a_programs_file_is_read_up_to_the_limit_and_only_with_its_sha256(tmp_path, monkeypatch):
    file = tmp_path / "m.pt2"
    file.write_bytes(b"12345")
    own = hashlib.sha256(b"12345").hexdigest()
    monkeypatch.setattr(exported, "SIZE_LIMIT", 5)
    assert read_checked(file, own) == b"12345"
    with pytest.raises(UsageError, match=f"has sha256 {own}, expected was 00; leave it alone during a run"):
        read_checked(file, "00")
    monkeypatch.setattr(exported, "SIZE_LIMIT", 4)
    with pytest.raises(UsageError, match="has 5 bytes; allowed are 4"):
        read_checked(file, own)
    with pytest.raises(UsageError, match="cannot be read"):
        read_checked(tmp_path / "absent.pt2", own)


@pytest.mark.parametrize("before", [None, "0"])
def test_torch_is_told_to_unpickle_tensors_alone_and_to_be_silent_meanwhile(monkeypatch, before):
    name = exported._FORCE_WEIGHTS_ONLY
    if before is None:
        monkeypatch.delenv(name, raising=False)
    else:
        monkeypatch.setenv(name, before)
    level = logging.root.manager.disable
    with pytest.raises(ValueError, match="inside"), exported._weights_only(), exported._quiet():
        assert os.environ[name] == "1" and logging.root.manager.disable == logging.ERROR
        raise ValueError("inside")
    assert os.environ.get(name) == before and logging.root.manager.disable == level


def test_a_program_is_frozen_and_its_mode_is_left_alone():
    inner = nn.Linear(2, 2).eval()
    program = Program(inner)
    assert program.train() is program and program.training and not inner.training
    assert not program.train(False).training
    assert not any(parameter.requires_grad for parameter in inner.parameters())
    assert torch.equal(program(torch.ones(1, 2)), inner(torch.ones(1, 2)))
