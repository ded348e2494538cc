"""A detector that has no memory for its batch is asked in smaller ones, and the cell says so."""

import numpy as np
import pytest
import torch
from tiny_world import Labelled, Net, Shaken

from bench.errors import is_out_of_memory
from bench.evaluation.halving import halved, in_batches_that_fit

ERRORS = {
    "a GPU's": torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "torch's": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    "torch's on Linux": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
    "Python's": MemoryError(),
}


@pytest.fixture
def room_for(monkeypatch):
    """Lets detectors of the tiny world take so many images at a time, and no more."""

    def limit(most, error=ERRORS["torch's"], kinds=(Net, Labelled, Shaken)):
        sizes = []
        smooth = Net.smooth

        def cramped(self, x):
            if len(x) > most:
                raise error
            sizes.append(len(x))
            return smooth(self, x)

        for kind in kinds:
            monkeypatch.setattr(kind, "smooth", cramped)
        return sizes

    return limit


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_detector_without_memory_for_its_batch_is_asked_in_halves(cells, room_for, error):
    whole = cells("net", "pgd", "0.3", micro_batch=32)
    sizes = room_for(8, error)
    clean, attacked = cells("net", "pgd", "0.3", micro_batch=32)
    assert max(sizes) == 8
    for before, after in zip(whole, (clean, attacked), strict=True):
        np.testing.assert_allclose(before.samples["score"], after.samples["score"], atol=1e-5)
        (note,) = [said for said in after.meta.notes if "memory did not suffice" in said]
        assert "batches of 32 images" in note and "--micro-batch 8 " in note
        assert not any("memory" in said for said in before.meta.notes)
        assert after.meta.micro_batch == 32


@pytest.mark.parametrize(
    ("detector", "threat", "options"), [("labelled", "fooling", {"side": "fool"}), ("random", "pgd", {})]
)
def test_so_is_one_whose_classifier_is_fooled_and_a_random_one(cells, room_for, detector, threat, options):
    sizes = room_for(4)
    attacked = cells(detector, threat, "0.3", micro_batch=32, **options)[-1]
    assert max(sizes) == 4
    assert any("batches of 4 and less" in said for said in attacked.meta.notes)


def test_a_batch_that_is_no_power_of_two_is_halved_upwards(cells, room_for):
    sizes = room_for(3)
    attacked = cells("net", "fgm", "0.3", micro_batch=27)[-1]
    assert max(sizes) <= 3
    assert any("batches of 27 images" in said for said in attacked.meta.notes)


def test_what_has_no_memory_for_one_image_fails():
    with pytest.raises(MemoryError):
        in_batches_that_fit(lambda size: (_ for _ in ()).throw(MemoryError()), 8)


def test_another_error_is_not_tried_twice():
    tried = []

    def work(size):
        tried.append(size)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        in_batches_that_fit(work, 64)
    assert tried == [64]


def test_what_failed_holds_no_memory_while_it_is_tried_again():
    import weakref

    refs = []

    def work(size):
        if refs:
            assert refs[0]() is None
            return size
        held = torch.zeros(8)
        refs.append(weakref.ref(held))
        raise MemoryError

    assert in_batches_that_fit(work, 8) == (4, 4)


def test_the_kinds_of_error_are_known_through_a_sentence_made_of_them():
    try:
        try:
            raise ERRORS["torch's"]
        except RuntimeError as error:
            raise ValueError("cannot score 8 images") from error
    except ValueError as error:
        assert is_out_of_memory(error)
    assert not is_out_of_memory(ValueError("the memory of an elephant"))
    assert not is_out_of_memory(None)


def test_nothing_is_said_where_nothing_was_halved():
    assert halved(128, 128, "x") == ()
    assert len(halved(128, 64, "x")) == 1
