"""Room mxnet."""
