"""Networks that detectors stand on."""
