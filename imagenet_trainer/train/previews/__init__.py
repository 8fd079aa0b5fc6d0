"""What `fit` does instead of training: one module for each flag or pair of flags.

Previews open the same network, data and engine as a training with the same flags. None of them
writes a checkpoint.
"""
