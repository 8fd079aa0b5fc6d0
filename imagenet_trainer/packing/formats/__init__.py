"""Sets of images in the formats of other programs: WebDataset, Hugging Face's parquet, TFRecord.

Each can be packed as it is; the first two can also be written from a pack.
"""
