"""Inference and evaluation of a trained network: load it, predict, evaluate, compare, report.

Nothing here trains. Metrics are computed in `metrics`, plots and pages are drawn in `viz`, the
files of a run are in `runs`.
"""
