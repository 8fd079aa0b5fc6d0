"""A network bound to devices as MXNet's Module, and again for images of another size."""

import logging
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.engines.mxnet.fused_relu import FusedRelu
from imagenet_trainer.engines.mxnet.targets import Targets
from imagenet_trainer.system.mxnet_import import mx


class Binding:
    """The module of an engine; `module` is another one after some calls of `to` and `again`.

    Parameters
    ----------
    symbol
        what MXNet executes; `data` are bytes.
    contexts
        its devices.
    batch_shape
        (n, h, w, 3) of the parts of a batch, which are computed one after the other.
    targets
        knows the shapes of the inputs besides the images.
    inputs
        names of these.
    fused
        chooses faster operators for a size of images; None: nothing is chosen.
    frozen
        names of parameters without gradients.
    trains, adds
        whether there are gradients, and whether backward adds to them instead of replacing them.

    """

    def __init__(
        self,
        symbol: "mx.sym.Symbol",
        contexts: Sequence["mx.context.Context"],
        batch_shape: Tuple[int, ...],
        targets: Targets,
        *,
        inputs: Sequence[str],
        fused: Optional[FusedRelu],
        frozen: Sequence[str],
        trains: bool,
        adds: bool,
    ) -> None:
        self.symbol, self.batch_shape = symbol, batch_shape
        self._contexts = contexts
        self._inputs, self._targets = inputs, targets
        self._fused = fused
        self._frozen = frozen
        self._trains, self._adds = trains, adds
        self._choose_symbol()
        self.module = self._bound()

    @property
    def executors(self) -> List["mx.executor.Executor"]:
        """One for each device."""
        executors: List[mx.executor.Executor] = self.module._exec_group.execs
        return executors

    def shapes(self) -> Dict[str, Tuple[int, ...]]:
        """Of the inputs besides the images, for a part of a batch."""
        size = self.batch_shape[0]
        return {name: self._targets.shape_of(name, size) for name in self._inputs}

    def to(self, images: np.ndarray) -> bool:
        """Bind the network to the size of these images; whether it was another one.

        Parameters, gradients, statistics and memory are shared with the first binding.
        """
        if images.shape[1:] == self.batch_shape[1:]:
            return False
        mx.nd.waitall()
        _, height, width, channels = images.shape
        self.batch_shape = (self.batch_shape[0], height, width, channels)
        symbol = self.symbol
        self._choose_symbol()
        if self.symbol is symbol:
            self.module.reshape(*self._descriptions())
        else:
            self.module = self._bound(self.module)
        return True

    def again(self) -> None:
        """Bind the network to the same size, which shares nothing with the first binding."""
        self.module = self._bound()

    def part(
        self, part: int, images: np.ndarray, inputs: Mapping[str, np.ndarray]
    ) -> "mx.io.DataBatch":
        """One part of a batch; nd.array copies it, so the loader may reuse its buffers."""
        size = self.batch_shape[0]
        here = slice(part * size, (part + 1) * size)
        return mx.io.DataBatch(
            [mx.nd.array(images[here], dtype=np.uint8)],
            [mx.nd.array(inputs[name][here], dtype=np.float32) for name in self._inputs],
        )

    def clear_gradients(self) -> None:
        """Set the gradients to zero before the parts of a batch are added to them."""
        for gradients in self.module._exec_group.grad_arrays:
            for gradient in gradients:
                if gradient is not None:
                    gradient[:] = 0

    def _choose_symbol(self) -> None:
        if self._fused:
            data, labels = self._descriptions()
            self.symbol = self._fused.symbol_for(data + labels, len(self._contexts))

    def _bound(self, shared: Optional["mx.mod.Module"] = None) -> "mx.mod.Module":
        """A new module; given another one, with its parameters, its optimizer and its memory."""
        module = mx.mod.Module(
            self.symbol,
            label_names=self._inputs,
            context=self._contexts,
            fixed_param_names=self._frozen,
            logger=logging.getLogger("mxnet"),
        )
        data, labels = self._descriptions()
        module.bind(
            data_shapes=data,
            label_shapes=labels,
            for_training=self._trains,
            grad_req="add" if self._adds else "write",
            shared_module=shared,
        )
        if shared:
            module.borrow_optimizer(shared)
            module._params_dirty = shared._params_dirty
        return module

    def _descriptions(self) -> Tuple[List["mx.io.DataDesc"], List["mx.io.DataDesc"]]:
        """Of the images and of the other inputs of a part of a batch."""
        return (
            [mx.io.DataDesc("data", self.batch_shape, np.uint8, layout="NHWC")],
            [mx.io.DataDesc(name, shape, layout="N") for name, shape in self.shapes().items()],
        )
