"""Packs, trains and evaluates ImageNet classifiers with MXNet, reproducibly to the last bit."""

__version__ = "0.1.0"
