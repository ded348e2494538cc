"""The server of the tests of downloads."""

from tests.datasets.serving import server

__all__ = ["server"]
