"""Attacks of other libraries, as the benchmarks have them climb a score, reach the optimum of a linear one."""

import importlib.util
from pathlib import Path

import pytest
import torch

from bench.cards.threat import Norm
from bench.testing.closed_forms import LinearScore

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
EPS = {Norm.L2: 0.5, Norm.LINF: 0.05}


@pytest.fixture(scope="module")
def peers():
    """The module beside the scripts that use it; it imports foolbox."""
    pytest.importorskip("foolbox")
    spec = importlib.util.spec_from_file_location("attack_peers", BENCHMARKS / "attack_peers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("norm", EPS, ids=str)
@pytest.mark.parametrize("name", ["foolbox_pgd", "torchattacks_pgd", "torchattacks_apgd", "adv_lib_apgd"])
def test_a_peer_comes_to_the_best_point_of_a_linear_score(peers, name: str, norm: Norm) -> None:
    library = name.rpartition("_")[0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    detector, eps = LinearScore().eval(), EPS[norm]
    x = torch.rand(4, *detector.shape, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    sizes = {} if name.endswith("apgd") else {"step_size": eps / 4}
    torch.manual_seed(0)
    found = getattr(peers, name)(detector, norm, eps, 50, **sizes)(x).detach()
    (slope,) = torch.autograd.grad(detector.score(x.requires_grad_(True)).sum(), x)
    steepest = slope.flatten(1)
    best = eps * (steepest.norm(dim=1) if norm is Norm.L2 else steepest.abs().sum(dim=1))
    assert torch.allclose((detector.score(found) - detector.score(x)).detach(), best, rtol=2e-2)
