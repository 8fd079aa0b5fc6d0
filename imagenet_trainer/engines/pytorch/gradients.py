"""Gradients of single outputs of a network, with PyTorch."""

import numpy as np
import torch

from imagenet_trainer.engines.pytorch.exported import module_of
from imagenet_trainer.graph import Symbol
from imagenet_trainer.system.arrays import Arrays


def output_gradients(
    symbol: Symbol, arg: Arrays, aux: Arrays, inputs: np.ndarray, outputs: np.ndarray
) -> np.ndarray:
    """As `factory.output_gradients`, on the CPU."""
    module = module_of(symbol, arg, aux, inputs.shape[1:])
    data = torch.from_numpy(np.ascontiguousarray(inputs)).requires_grad_()
    chosen = module(data)[0].flatten(1).gather(1, torch.from_numpy(outputs)[:, None])
    return torch.autograd.grad(chosen.sum(), data)[0].numpy()
