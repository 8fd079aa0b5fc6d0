"""Lists from ILSVRC2012 as image-net.org and Kaggle distribute it, or from any labelled images.

Nothing here packs images; `packing/` does, from the lists written here.
"""
