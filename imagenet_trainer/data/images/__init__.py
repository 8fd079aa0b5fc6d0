"""Image files of every kind: found in folders and tars, measured, decoded.

Nothing here knows datasets, labels or training.
"""
