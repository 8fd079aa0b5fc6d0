"""The root mean square of every tensor during training, by MXNet's names."""

from typing import Any, Dict

from torch import Tensor, fx

from imagenet_trainer.engines.pytorch.graph import TorchNetwork


class _Layers(fx.Interpreter):
    """Runs a network and records the root mean squares of its layers' outputs in `values`."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: Dict[str, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Compute one node and record its output."""
        value = super().run_node(n)
        output = value[0] if isinstance(value, tuple) else value
        # Nodes that are not operators of the symbol, such as the loss, have no name in it.
        if isinstance(output, Tensor) and "symbol" in n.meta:
            name = n.meta["symbol"].rpartition(":")[0]
            self.values[f"{name}_output"] = _root_mean_square(output)
        return value


def statistics_of(
    network: TorchNetwork, images: Tensor, planes: Tensor, target: Tensor, scale: float
) -> Dict[str, float]:
    """Of all layers' outputs, the images, the parameters and their gradients.

    `planes` are the images normalised, `target` is what the network's loss takes. Gradients are
    multiplied by `scale`. Computes forward once more.
    """
    layers = _Layers(network.training)
    layers.run(planes, target)
    values = {**layers.values, "data": _root_mean_square(images)}
    values.update((name, _root_mean_square(value)) for name, value in network.arg.items())
    for name, value in network.arg.items():
        if value.grad is not None:
            values[f"{name}_grad"] = _root_mean_square(value.grad) * scale
    return values


def _root_mean_square(tensor: Tensor) -> float:
    """That of all elements of any type; waits for the device."""
    return (tensor.detach().float().norm() / max(tensor.numel(), 1) ** 0.5).item()
