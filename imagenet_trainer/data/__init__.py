"""What training and evaluation read: datasets, the order of images, augmentation, the loader.

Nothing here depends on the command line, an engine or a run.
"""
