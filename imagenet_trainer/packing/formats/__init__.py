"""Sets of images in other formats: WebDataset, Hugging Face's parquet, TFRecord, idx of MNIST.

Each can be packed as it is; the first two can also be written from a pack.
"""
