import ctypes
import sys

import pytest

from bench.allocator import hold_freed_memory


class Library:
    def __init__(self):
        self.asked = {}

    def mallopt(self, parameter, value):
        self.asked[parameter] = value
        return 1


def test_large_blocks_are_asked_to_stay_in_the_process(monkeypatch):
    library = Library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    hold_freed_memory()
    assert library.asked == {-3: 1 << 30, -1: 1 << 30, -4: 0}  # as glibc's malloc.h numbers them


@pytest.mark.parametrize("error", [OSError("no such library"), AttributeError("mallopt")])
def test_another_c_library_is_left_alone(monkeypatch, error):
    asked = []

    def missing(name):
        asked.append(name)
        raise error

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", missing)
    hold_freed_memory()
    assert asked == ["libc.so.6"]  # looked for once, and not insisted on


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("a library was loaded"))
    hold_freed_memory()
