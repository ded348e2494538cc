"""The contracts of detectors and threats, for built-in ones and for a user's own alike.

    import pytest
    from bench.testing import check_detector, check_threat

`check_detector` and `check_threat` run every check and raise AssertionError with one sentence; `DETECTOR_CHECKS` and
`threat_checks` list them for pytest's parametrisation.
"""

from bench.testing.detectors import DETECTOR_CHECKS, DetectorCase, check_detector
from bench.testing.threats import Setting, check_threat, threat_checks

__all__ = ["DETECTOR_CHECKS", "DetectorCase", "Setting", "check_detector", "check_threat", "threat_checks"]
