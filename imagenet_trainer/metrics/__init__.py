"""Metrics of predictions: arrays in, numbers out.

Counts, predictions saved per image, confidence intervals, ImageNet's taxonomy in WordNet. Nothing
here reads images, runs a network or depends on the files of a run.
"""
