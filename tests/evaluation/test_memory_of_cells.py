"""Memory does not follow the number of images: what a piece needed is free before the next one comes."""

import gc

import pytest
import torch
from torch._subclasses.fake_tensor import is_fake  # what torch.compile leaves behind has no bytes

from bench.evaluation import attacked_sets, fooling
from bench.evaluation import pieces as cutting

MICRO_BATCH = 8


@pytest.fixture
def held_after_pieces(cells, monkeypatch):
    """Bytes of float32 images alive in all tensors, each time that the next piece is attacked."""

    def run(module, function, *asked, **options):
        found, original = [], getattr(module, function)

        def counting(*args, **named):
            gc.collect()
            storages = {
                t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
                for t in gc.get_objects()
                if type(t) is torch.Tensor and not is_fake(t) and t.dtype == torch.float32 and t.ndim == 4
            }
            found.append(sum(storages.values()))
            return original(*args, **named)

        monkeypatch.setattr(cutting, "_HELD_BYTES", 1)
        monkeypatch.setattr(module, function, counting)
        cells(*asked, micro_batch=MICRO_BATCH, **options)
        return found

    return run


@pytest.mark.parametrize(
    ("module", "function", "detector", "threat", "options"),
    [(attacked_sets, "craft", "net", "pgd", {}), (fooling, "attempt_attack", "labelled", "fooling", {"side": "fool"})],
)
def test_the_images_of_earlier_pieces_are_freed(held_after_pieces, module, function, detector, threat, options):
    held = held_after_pieces(module, function, detector, threat, "0.3", **options)
    assert len(held) > 3
    assert held[-1] <= held[1], held
