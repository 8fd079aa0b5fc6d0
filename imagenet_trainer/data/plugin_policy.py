"""Augmentation policies of other installed packages: `--auto-augment NAME`."""

from typing import Any, List, Tuple

import numpy as np

from imagenet_trainer.config import plugins
from imagenet_trainer.data import philox
from imagenet_trainer.data.policies import Operation

_BLOCK = (1 << 17) + (1 << 16)  # of draws, apart from those of the other augmentation
NUMBERS = 16  # that a plug-in gets for each image


class PluginPolicy:
    """Draws the random numbers of a plug-in for each image.

    The plug-in is a function `augment(image, numbers, fill)`. It changes `image`, uint8 RGB
    (height, width, 3), in place. `numbers` are float64 (16,), uniform in [0, 1), and pure functions
    of (seed, epoch, image); all that is random must follow from them. `fill` is the value of pixels
    from outside the image, 0 to 255.

    Raises
    ------
    ArgumentError
        there is no such plug-in, or it cannot be imported.

    """

    def __init__(self, name: str, seed: int) -> None:
        self._seed = seed
        self._plugin, self._augment = plugins.load("augmentations", name)

    def draw(self, images: np.ndarray, epochs: np.ndarray) -> List[Tuple[Operation, ...]]:
        """The operation for images (n,) in epochs (n,)."""
        draws = philox.uniform(self._seed, epochs, images, NUMBERS, _BLOCK)
        return [((self._execute, one),) for one in draws]

    def _execute(self, image: np.ndarray, numbers: Any, fill: int) -> None:
        """Call the plug-in; ArgumentError if it fails, since the image is not to blame."""
        try:
            result = self._augment(image, numbers, fill)
        except Exception as error:
            raise self._plugin.error(f"failed: {plugins.one_line(error)}") from error
        if result is not None:
            raise self._plugin.error("returns a value, but must change the image in place")
