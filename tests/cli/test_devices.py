"""Where to compute, and that torch is asked only where there may be a device to ask it for."""

import subprocess
import sys

import pytest
import torch

from bench.cli import devices
from bench.cli.devices import may_have_gpu, resolve_device


def nodes(folder, monkeypatch, *names):
    for name in names:
        (folder / name).touch()
    monkeypatch.setattr(devices, "_DEV", folder)


@pytest.mark.parametrize("name", ["nvidiactl", "nvidia0", "kfd", "dxg", "nvhost-gpu"])
def test_a_node_of_a_driver_may_be_a_gpu_and_then_torch_decides(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    nodes(tmp_path, monkeypatch, "null", name)
    assert may_have_gpu()
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.cuda, "device_count", lambda there=there: int(there))
        assert resolve_device("auto") == ("cuda" if there else "cpu")


def test_disks_and_terminals_are_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    nodes(tmp_path, monkeypatch, "null", "nvme0n1", "nvram", "tty0")
    assert not may_have_gpu()


def test_where_the_system_does_not_tell_torch_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert may_have_gpu()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(devices, "_DEV", tmp_path / "none")
    assert may_have_gpu()


def test_a_device_that_is_named_is_looked_for_whatever_the_system_tells(monkeypatch):
    monkeypatch.setattr(devices, "may_have_gpu", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == "cuda:0"


def test_without_a_gpu_no_torch_is_imported():
    code = """
import sys
from bench.cli import devices
devices.may_have_gpu = lambda: False
assert [devices.resolve_device(name) for name in ("auto", "cpu")] == ["cpu", "cpu"]
assert "torch" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
