"""Packing: from a list and its images to RecordIO shards, an index and a manifest.

Plan, write, journal, verify, repair, duplicates and dry run; `ilsvrc/` makes lists from ImageNet's
own files. Shards are read by `data/records/`. Nothing here imports a network or an engine.
"""
