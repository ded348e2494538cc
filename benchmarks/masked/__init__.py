"""Detectors on the digits track whose true AUROC under attack is known: masked ones, and sound ones."""
