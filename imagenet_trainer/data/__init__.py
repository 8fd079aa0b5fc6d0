"""What training and evaluation read: datasets, the order of images, augmentation, the loader.

Nothing here knows a command line, an engine or a run.
"""
