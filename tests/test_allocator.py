import ctypes
import sys

import pytest

from bench.allocator import give_back_freed_memory, hold_freed_memory


class Library:
    def __init__(self):
        self.asked = {}

    def mallopt(self, parameter, value):
        self.asked[parameter] = value
        return 1

    def malloc_trim(self, kept):
        self.asked["kept"] = kept
        return 1


def test_large_blocks_are_asked_to_stay_in_the_process(monkeypatch):
    library = Library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    hold_freed_memory()
    assert library.asked == {-3: 1 << 30, -1: 1 << 30, -4: 0}  # as glibc's malloc.h numbers them


def test_all_that_is_free_is_given_back(monkeypatch):
    library = Library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    give_back_freed_memory()
    assert library.asked == {"kept": 0}


@pytest.mark.parametrize("ask", [hold_freed_memory, give_back_freed_memory])
@pytest.mark.parametrize("error", [OSError("no such library"), AttributeError("mallopt")])
def test_another_c_library_is_left_alone(monkeypatch, error, ask):
    asked = []

    def missing(name):
        asked.append(name)
        raise error

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", missing)
    ask()
    assert asked == ["libc.so.6"]  # looked for once, and not insisted on


@pytest.mark.parametrize("ask", [hold_freed_memory, give_back_freed_memory])
def test_another_system_is_left_alone(monkeypatch, ask):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("a library was loaded"))
    ask()
