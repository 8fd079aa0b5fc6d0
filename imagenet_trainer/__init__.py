"""Packing, training and evaluation of ImageNet classifiers, reproducible bit for bit."""

__version__ = "0.3.0"
