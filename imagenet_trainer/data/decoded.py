"""An image of a batch, decoded as far as its steps need it.

A random resized crop shows half of an image on average, and the centre crop of evaluation two
thirds. The steps are known from the size in a JPEG's header, so only the part that they read is
decoded. The result is the same as from the whole image.

A transform with `decode_scale` halves large JPEGs: libjpeg then transforms a quarter of the
coefficients. Whether it does depends on the size in the header and on the crop only.
"""

from typing import Any, List, Optional, Tuple

import numpy as np

from imagenet_trainer.data.augment import Transform, decode
from imagenet_trainer.data.images import jpeg_window
from imagenet_trainer.data.images.plausible import jpeg_size
from imagenet_trainer.data.kinds import kind_of
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
    size = windowed = jpeg_window.size(data) if jpeg_window.enabled else None
    if size is None and transform.decode_scale and kind_of(data) == "JPEG":
        size = jpeg_size(data)
    if size is None or not all(size):
        image = decode(data, remarks, trusted)
        return image, transform.steps(size_of(image), drawn, i)
    high, wide = size[1], size[0]
    steps = transform.steps((high, wide), drawn, i)
    half = transform.decode_scale and steps.halves
    if half:
        steps = steps.at_half_size()
        high, wide = (high + 1) // 2, (wide + 1) // 2
    if windowed:
        window = steps.needed((high, wide))
        found = jpeg_window.decode(data, (wide, high), window, not trusted, half)
        if found is not None:
            return found, steps
    return decode(data, remarks, trusted, half), steps
