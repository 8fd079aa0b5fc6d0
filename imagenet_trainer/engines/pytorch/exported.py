"""Networks for other programs with PyTorch: outputs of their models, and traced programs."""

import importlib
import io
from typing import Any, Mapping, Optional

import numpy as np
import torch

from imagenet_trainer.engines.pytorch.graph import load_graph, to_tensor
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.graph import Symbol
from imagenet_trainer.system.arrays import Arrays


def module_of(symbol: Symbol, arg: Arrays, aux: Arrays, image_shape: Any) -> torch.nn.Module:
    """The network for inference, on the CPU: from float32 (n, c, h, w) to a tuple of outputs."""
    network = load_graph(symbol, *parameter_shapes(symbol, image_shape), torch.device("cpu"))
    for ours, values in ((network.arg, arg), (network.aux, aux)):
        for name, tensor in ours.items():
            to_tensor(values[name], tensor)
    # Programs of torch.export do not store tensors in channels_last without a warning.
    return network.inference.requires_grad_(False).to(memory_format=torch.contiguous_format)


def outputs(module: Any, planes: np.ndarray) -> np.ndarray:
    """The first output for `planes`, float32 (n, c, h, w)."""
    with torch.no_grad():
        found = module(torch.from_numpy(planes))
    return (found[0] if isinstance(found, tuple) else found).numpy()


def model_of(
    library: str, name: str, options: Mapping[str, Any], parameters: Arrays
) -> Optional[torch.nn.Module]:
    """The model of torchvision or timm with these parameters; None if the library fails to load.

    Raises RuntimeError, as PyTorch does, for parameters that are not the model's.
    """
    try:
        package = importlib.import_module(library)
    except (ImportError, RuntimeError):  # RuntimeError: a build for another PyTorch
        return None
    if library == "timm":
        model = package.create_model(name, pretrained=False, **options)
    else:
        model = package.models.get_model(name, weights=None, **options)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in parameters.items()})
    return model.eval()


def program_of(module: torch.nn.Module, planes: np.ndarray) -> bytes:
    """The file of the traced program, for `torch.export.load`; the batch size is free."""
    example = torch.from_numpy(planes[:2].copy())
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(module, (example,), dynamic_shapes={"data": {0: batch}})
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def run_program(data: bytes, planes: np.ndarray) -> np.ndarray:
    """The first output of a traced program that was written here."""
    return outputs(torch.export.load(io.BytesIO(data)).module(), planes)
