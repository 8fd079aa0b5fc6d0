"""Room ilsvrc."""
