"""Image files of every kind: found in folders and tars, measured, decoded.

Nothing here depends on datasets, labels or training.
"""
