"""Foolbox's PGD, made to climb the score, is the reference that ours must not fall behind at the same budget."""

import foolbox
import pytest
import torch
from torch import Tensor, nn

from bench.cards.threat import Norm, Side
from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.testing.threats import SHAPE, LinearScore, images
from bench.threat_models.base import Budget, Context
from bench.threat_models.fgm import FGM
from bench.threat_models.pgd import PGD, PGDParams


class Curved(Detector):
    info = DetectorInfo(classifier=False)

    def __init__(self) -> None:
        super().__init__(None, shape=SHAPE, classes=2, params=DetectorParams())
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.body = nn.Sequential(
                nn.Flatten(), nn.Linear(36, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 1)
            )

    def score(self, x, *, noise=None):
        return self.body(x)[:, 0]


def on_score(attack: type, detector: Detector, **settings: object):
    """A foolbox attack whose loss is the score; labels and logits have no part in it."""

    class OnScore(attack):
        def get_loss_fn(self, model, labels):
            import eagerpy as ep

            return lambda inputs: ep.astensor(detector.score(inputs.raw)).sum()

    return OnScore(**settings)


def foolbox_images(attack, eps: float) -> Tensor:
    x, _ = images()
    model = foolbox.PyTorchModel(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).eval(), bounds=(0, 1), device="cpu")
    _, clipped, _ = attack(model, x, torch.zeros(len(x), dtype=torch.int64), epsilons=eps)
    return clipped


ATTACKS = {
    Norm.L2: (foolbox.attacks.L2ProjectedGradientDescentAttack, foolbox.attacks.L2FastGradientAttack, 0.8),
    Norm.LINF: (foolbox.attacks.LinfProjectedGradientDescentAttack, foolbox.attacks.LinfFastGradientAttack, 0.1),
}


@pytest.mark.parametrize("step_size", [0.1, 0.5])
@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
def test_pgd_on_a_network_is_not_behind_foolbox_at_equal_budget(norm: Norm, step_size: float) -> None:
    detector = Curved().eval()
    attack, _, eps = ATTACKS[norm]
    torch.manual_seed(0)
    starts = range(5)
    theirs = [foolbox_images(on_score(attack, detector, rel_stepsize=step_size, steps=40), eps) for _ in starts]
    x, ids = images()
    threat = PGD(PGDParams(steps=40, restarts=len(starts)))
    ours = threat.run(detector, x, ids=ids, budget=Budget(norm, eps), context=Context(Side.EVADE, micro_batch=8)).images
    with torch.no_grad():
        clean, reached = detector.score(x), detector.score(ours)
        reference = torch.stack([detector.score(points) for points in theirs]).amax(0)
    assert (reached - reference).mean() >= 0
    # A sample may end in another local optimum; here that costs it less than a twentieth of the way.
    assert ((reached - reference) >= -0.05 * (reference - clean)).all()


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
def test_pgd_on_a_linear_score_ends_where_foolbox_ends_or_above(norm: Norm) -> None:
    detector = LinearScore().eval()
    attack, _, eps = ATTACKS[norm]
    theirs = foolbox_images(on_score(attack, detector, rel_stepsize=0.1, steps=60), eps)
    x, ids = images()
    threat = PGD(PGDParams(steps=60, restarts=1))
    ours = threat.run(detector, x, ids=ids, budget=Budget(norm, eps), context=Context(Side.EVADE, micro_batch=8)).images
    with torch.no_grad():
        assert (detector.score(ours) - detector.score(theirs)).min() >= -1e-5  # projections aim at eps (1 - 1e-6)


@pytest.mark.parametrize("norm", [Norm.L2, Norm.LINF])
def test_one_step_is_the_one_of_foolbox(norm: Norm) -> None:
    detector = LinearScore().eval()
    _, attack, eps = ATTACKS[norm]
    theirs = foolbox_images(on_score(attack, detector, random_start=False), eps)
    x, ids = images()
    ours = FGM().run(detector, x, ids=ids, budget=Budget(norm, eps), context=Context(Side.EVADE, micro_batch=8)).images
    assert torch.allclose(ours, theirs, atol=1e-5)
