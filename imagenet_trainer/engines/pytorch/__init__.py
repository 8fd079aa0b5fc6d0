"""PyTorch's engine: symbols as torch.fx graphs, update rules, and torchrun's workers.

The only package that imports PyTorch, apart from benchmarks. It does not run MXNet: symbols arrive
as JSON.
"""

from imagenet_trainer.system.machine import wait_briefly

wait_briefly()  # OpenMP reads it when PyTorch is imported
