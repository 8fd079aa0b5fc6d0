"""An image of a batch, decoded as far as its steps need it.

A random resized crop shows half of an image on average, and the centre crop of evaluation two
thirds. The steps are known from the size in a JPEG's header, so only the part that they read is
decoded. The result is the same as from the whole image.
"""

from typing import Any, List, Optional, Tuple

import numpy as np

from imagenet_trainer.data.augment import Transform, decode
from imagenet_trainer.data.images import jpeg_window
from imagenet_trainer.data.transforms import Steps, size_of


def decode_for(
    data: Any,
    transform: Transform,
    drawn: Any,
    i: int,
    remarks: Optional[List[str]] = None,
    trusted: bool = False,
) -> Tuple[np.ndarray, Steps]:
    """Decode an encoded image for image i of a drawn batch.

    Of an image that is not `trusted`, the rest is read too, so that damage is an error wherever
    it is. `remarks`, `trusted` and errors as in `augment.decode`.

    Returns
    -------
    uint8 RGB (height, width, 3), in which pixels that the steps do not read may be undefined; and
    the steps for `transform.execute`.

    """
    size = jpeg_window.size(data) if jpeg_window.enabled else None
    if size is not None:
        steps = transform.steps(size[::-1], drawn, i)
        window = steps.needed(size[::-1])
        image = jpeg_window.decode(data, size, window, to_end=not trusted)
        if image is not None:
            return image, steps
    image = decode(data, remarks, trusted)
    return image, transform.steps(size_of(image), drawn, i)
