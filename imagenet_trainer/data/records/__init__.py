"""Packed images on disk: RecordIO shards and their indexes, manifests, image lists.

Images are opaque bytes here; decoding them is in `images`.
"""
