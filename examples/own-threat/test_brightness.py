"""The contract that every built-in threat keeps."""

from brightness import Brightness

from bench.cards.threat import Norm
from bench.testing import check_threat


def test_brightness_keeps_the_contract():
    check_threat(Brightness(), norm=Norm.LINF, eps=0.1)
    check_threat(Brightness(), norm=Norm.L2, eps=1.0)
