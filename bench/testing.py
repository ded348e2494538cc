"""The contracts of detectors and threats, for built-in ones and for a user's own alike.

    import pytest
    from bench.testing import check_detector, check_threat

`check_detector` and `check_threat` run every check and raise AssertionError with one sentence; `detector_checks` and
`threat_checks` list them for pytest's parametrisation.
"""

from bench.testing_detectors import CHECKS as DETECTOR_CHECKS
from bench.testing_detectors import DetectorCase, check_detector
from bench.testing_threats import Setting, check_threat, threat_checks

__all__ = ["DETECTOR_CHECKS", "DetectorCase", "Setting", "check_detector", "check_threat", "threat_checks"]
