"""robustood: how much of a detector's AUROC is left when the detector itself is attacked?"""

__version__ = "0.1.0"
