"""A score that is random and does not say so: a run tells it in one sentence."""

import torch
from torch import nn

import bench


class Shaken(nn.Module):
    def score(self, x):
        return -x.flatten(1).mean(1) + torch.rand(len(x))


def test_that_a_score_is_random_is_said_once_with_what_to_do(catalog):
    clean, attacked = bench.evaluate(Shaken(), "fgm", "tiny", eps=0.3, workspace=catalog.workspace).cells
    (said,) = [note for note in clean.meta.notes if "random" in note or "the same image" in note or "twice" in note]
    assert "call eval() on its modules, or declare it" in said
    assert not [note for note in attacked.meta.notes if "random" in note]
