"""Exploring a set of images before training on it: sizes, classes, colours, unreadable files.

Also the sheet of augmented images. Nothing here trains, evaluates or opens an engine.
"""
