"""Reconstruction error of an autoencoder."""

import math
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource
from bench.detectors.networks.base import FromPixels
from bench.errors import InputError


class AutoencoderParams(DetectorParams):
    """Parameters of the autoencoder.

    Attributes:
        channels: Output channels of each convolution of the encoder; every one halves the side.
        code: Width of the bottleneck.
    """

    channels: tuple[int, ...] = Field(default=(16, 32, 32), min_length=1)
    code: int = Field(default=32, ge=1)


class Autoencoder(Detector):
    """Minus the mean squared error with which an autoencoder of in-distribution images reconstructs an image.

    Japkowicz, Myers and Gluck (1995), "A novelty detection approach to classification", section 2: what a network
    that was trained to reproduce one class cannot reproduce is novel.

    Deviation: strided convolutions, SiLU and a code of a few dozen numbers in place of one hidden layer. There is no
    network in the card: encoder and decoder are the detector's own. `features` gives the code as "penultimate".
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(
        classifier=False, components=("encoder", "decoder"), matched="penultimate"
    )
    params: AutoencoderParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(params, AutoencoderParams)
        self.encoder = strided_encoder(shape, params.channels, params.code)
        self.decoder = strided_decoder(shape, params.channels, params.code)

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,) minus the mean squared error over pixels and channels, in [-1, 0]."""
        return -(self.reconstruct(x) - x).flatten(1).square().mean(dim=1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W) in (0, 1)."""
        return torch.sigmoid(self.decoder(self.encoder(x)))

    def features(self, x: Tensor, at: str) -> Tensor:
        """(N, D): the code at "penultimate", code and reconstruction together at "all".

        Raises:
            InputError: This detector has no such features.
        """
        if at == "penultimate":
            return torch.as_tensor(self.encoder(x))
        if at == "all":
            code = self.encoder(x)
            return torch.cat([code, torch.sigmoid(self.decoder(code)).flatten(1)], dim=1)
        return super().features(x, at)


def strided_encoder(shape: tuple[int, int, int], channels: tuple[int, ...], width: int) -> nn.Sequential:
    """(N, C, H, W) -> (N, width): convolutions of so many channels, each of which halves the sides, and a linear layer.

    Raises:
        InputError: The sides cannot be halved so often.
    """
    height, breadth = _code_sides(shape, channels)
    layers: list[nn.Module] = []
    for before, after in pairwise((shape[0], *channels)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * height * breadth, width))


def strided_decoder(shape: tuple[int, int, int], channels: tuple[int, ...], width: int) -> nn.Sequential:
    """(N, width) -> (N, C, H, W) in the reals: the way back of `strided_encoder`.

    Raises:
        InputError: The sides cannot be halved so often.
    """
    height, breadth = _code_sides(shape, channels)
    last = channels[-1]
    layers: list[nn.Module] = [nn.Linear(width, last * height * breadth), nn.Unflatten(1, (last, height, breadth))]
    for before, after in pairwise((*reversed(channels), shape[0])):
        layers += [nn.SiLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
    return nn.Sequential(*layers)


def _code_sides(shape: tuple[int, int, int], channels: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the encoder's last map.

    Raises:
        InputError: The sides cannot be halved so often.
    """
    factor = 2 ** len(channels)
    if any(side % factor for side in shape[1:]):
        most = int(math.log2(math.gcd(shape[1], shape[2]) & -math.gcd(shape[1], shape[2])))
        raise InputError(
            f"images of {shape[1]} x {shape[2]} cannot be halved {len(channels)} times; "
            f"give `channels` at most {most} numbers."
        )
    return shape[1] // factor, shape[2] // factor
