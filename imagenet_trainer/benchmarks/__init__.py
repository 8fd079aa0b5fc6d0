"""What `benchmark` and `doctor` measure and report, one module for each kind.

This room holds measurements, comparisons with other tools, and what `bottleneck` advises. Nothing
here is used by a training or an evaluation.
"""
