"""A file with restart markers has the pixels of the file without, or is refused."""

import cv2
import numpy as np
import pytest
from helpers import jpegs

from imagenet_trainer.data.images import jpeg_restart, opencv, plausible

pytestmark = pytest.mark.skipif(not jpeg_restart.available, reason="the module is not built")
FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def check_mutated(numbers):
    """Compare each file with OpenCV's decoding of it; the number of files that were rewritten."""
    rewritten = 0
    for number in numbers:
        file = jpegs.mutated(number)
        try:
            layout = plausible.check(file)
        except ValueError:
            continue
        if layout is not None and layout.size[0] * layout.size[1] > 1 << 20:
            continue  # a damaged size: it would take seconds
        try:
            new = jpeg_restart.rewrite(file, 1 + number % 9)
        except ValueError:
            continue
        rewritten += 1
        remarks = []
        before, after = pixels(file, remarks), pixels(new)
        assert np.array_equal(before, after) if before is not None else after is None
        assert not remarks
    return rewritten


def pixels(file, remarks=None):
    try:
        return opencv.imdecode(file, FLAGS, remarks)
    except ValueError:  # OpenCV 5 refuses one of these files
        return None


def test_damaged_files():
    assert check_mutated(range(600)) > 50


def test_refused_arguments():
    with pytest.raises(ValueError):
        jpeg_restart.rewrite(b"no image", 1)
    with pytest.raises(TypeError):
        jpeg_restart.rewrite(1, 1)
