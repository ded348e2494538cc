"""Weights in files: written at once, read with checks, and nothing else than safetensors."""

import hashlib
import pickle

import pytest
import torch

from bench.detectors import weights
from bench.detectors.weights import check_state, file_sha256, load_tensors, save_tensors
from bench.errors import WeightsError

STATE = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3)}


def test_what_is_saved_is_loaded(tmp_path):
    save_tensors(tmp_path / "w.safetensors", STATE)
    loaded = load_tensors(tmp_path / "w.safetensors")
    assert loaded.keys() == STATE.keys()
    assert all(torch.equal(loaded[k], v) and loaded[k].dtype == v.dtype for k, v in STATE.items())


def test_the_returned_sha256_is_that_of_the_file(tmp_path):
    file = tmp_path / "deep" / "er" / "w.safetensors"
    assert save_tensors(file, STATE) == hashlib.sha256(file.read_bytes()).hexdigest() == file_sha256(file)


def test_the_order_of_tensors_does_not_change_the_file(tmp_path):
    assert save_tensors(tmp_path / "1", STATE) == save_tensors(tmp_path / "2", dict(reversed(STATE.items())))


def test_views_of_one_tensor_are_saved_as_they_are_seen(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    save_tensors(tmp_path / "w", {"all": base, "transposed": base.T})
    assert torch.equal(load_tensors(tmp_path / "w")["transposed"], base.T)


def test_nothing_but_the_file_is_left(tmp_path):
    save_tensors(tmp_path / "w", STATE)
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_tensors(tmp_path / "w", STATE)
    old = file_sha256(tmp_path / "w")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.files.os.fsync", full)
    with pytest.raises(WeightsError, match="no space left on device"):
        save_tensors(tmp_path / "w", {"a": torch.zeros(9)})
    assert file_sha256(tmp_path / "w") == old
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_another_sha256_than_expected_is_not_written(tmp_path):
    with pytest.raises(WeightsError, match="the card expects 0000"):
        save_tensors(tmp_path / "w", STATE, expected_sha256="0" * 64)
    assert not (tmp_path / "w").exists()


def test_a_wrong_sha256_is_told_with_both(tmp_path):
    found = save_tensors(tmp_path / "w", STATE)
    with pytest.raises(WeightsError, match=f"sha256 {found} and the card expects {'0' * 64}"):
        load_tensors(tmp_path / "w", "0" * 64)


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        load_tensors(tmp_path / "w.safetensors")


def test_a_pickle_under_the_name_of_safetensors_is_never_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was executed",))

    file = tmp_path / "w.safetensors"
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_tensors(file)


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_a_truncated_file_is_a_sentence(tmp_path, kept):
    file = tmp_path / "w.safetensors"
    save_tensors(file, STATE)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_tensors(file)


def test_a_file_above_the_limit_is_refused_unread(tmp_path, monkeypatch):
    save_tensors(tmp_path / "w", STATE)
    monkeypatch.setattr(weights, "SIZE_LIMIT", 10)
    with pytest.raises(WeightsError, match="allowed are 10"):
        load_tensors(tmp_path / "w")
    monkeypatch.setattr(weights, "SIZE_LIMIT", (tmp_path / "w").stat().st_size)
    assert set(load_tensors(tmp_path / "w")) == set(STATE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": torch.tensor(3)}, "missing b"),
        ({**STATE, "c": torch.zeros(1)}, "unexpected c"),
        ({**STATE, "b": torch.zeros(3, 2)}, r"b is \(3, 2\) and must be \(2, 3\)"),
        ({**STATE, "b": torch.full((2, 3), torch.nan)}, "NaN or infinite numbers in b"),
        ({f"x{i}": torch.zeros(1) for i in range(9)} | STATE, "x0, x1, x2 and 6 more"),
        ({f"x{i}": torch.zeros(1) for i in range(3)} | STATE, "unexpected x0, x1, x2;"),
    ],
)
def test_a_state_that_does_not_fit_is_told_by_name(given, message):
    with pytest.raises(WeightsError, match=message):
        check_state(STATE, given, "the weights")


def test_a_state_that_fits_passes():
    check_state(STATE, dict(STATE), "the weights")
