"""`bench convert` from the command line."""

import torch
from typer.testing import CliRunner

from bench.cli.app import app
from bench.detectors.networks.convnet28 import ConvNet28

TRACK = """
name: toy
summary: grey images
shape: [1, 32, 32]
classes: 10
train: {source: none}
calibration: {source: none}
test: {source: none}
ood:
  noise: {source: none}
"""
DETECTOR = """
name: sure
summary: top-class confidence
method: bench.detectors.msp:MSP
tracks:
  toy:
    network: {method: "bench.detectors.networks.convnet28:ConvNet28", crop: 28}
    weights: [{file: net.safetensors}]
"""


def convert(cards, checkpoint, *more):
    cards.card("datasets/toy.yaml", TRACK)
    cards.card("detectors/sure.yaml", DETECTOR)
    words = ["convert", str(checkpoint), "--detector", "sure", "--track", "toy", "--workspace", str(cards.root), *more]
    return CliRunner().invoke(app, words)


def test_it_writes_the_cards_weights_and_prints_file_and_sha256(empty_cards, tmp_path):
    cards = empty_cards("workspace")
    torch.save(ConvNet28().state_dict(), tmp_path / "published.pt")
    result = convert(cards, tmp_path / "published.pt")
    assert result.exit_code == 0, result.output
    written = cards.root / "detectors" / "weights" / "net.safetensors"
    assert written.is_file()
    assert str(written) in result.output
    assert "sha256: " in result.output


def test_a_folder_as_output_is_answered_by_a_file_in_it(empty_cards, tmp_path):
    torch.save(ConvNet28().state_dict(), tmp_path / "published.pt")
    result = convert(empty_cards("workspace"), tmp_path / "published.pt", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert f"--out {tmp_path / 'net.safetensors'}." in " ".join(result.output.split())


def test_a_checkpoint_that_is_not_there_ends_with_exit_code_2_and_one_sentence(empty_cards, tmp_path):
    result = convert(empty_cards("workspace"), tmp_path / "absent.pt")
    assert result.exit_code == 2
    assert "No such file" in result.output
    assert "Traceback" not in result.output
