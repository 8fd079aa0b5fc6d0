"""Make any number of photographs for measurements: crops of the package's own."""

import os
from typing import List, Sequence

import cv2
import numpy as np

from imagenet_trainer import assets
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.packing.conversion import Conversion, convert, encode
from imagenet_trainer.system.files import AnyPath, make_folder

# With these, JPEGs of 500 x 375 pixels are as large as ImageNet's: 70 kB on average.
_QUALITY = 92
_NOISE = 6.6  # standard deviation, of 255; enlarging removes the noise of the original


def make_photographs(
    folder: AnyPath, count: int, width: int = 500, height: int = 375, restart: str = "off"
) -> List[str]:
    """Write `count` JPEGs 00000.jpg ... of `width` x `height` pixels; return their paths.

    Each is a random crop of one of the package's photographs, enlarged, with mild noise. The
    same arguments write the same bytes. At 500 x 375 pixels a file has about 70 kB. `restart` is
    im2rec.py's: with `auto` the same pixels have restart markers.
    """
    target = make_folder(folder)
    photographs = _package_photographs()
    random = np.random.Generator(np.random.PCG64(0))
    # Crops of one noise field: drawing new noise for every image would take most of the time.
    noise = random.normal(0, _NOISE, (2 * height, 2 * width)).astype(np.float32)
    files: List[str] = []
    for number in range(count):
        photograph = photographs[random.integers(len(photographs))]
        rows, columns = photograph.shape[:2]
        # The crop has 60 to 100 % of the side of the largest one with the wanted aspect ratio.
        reach = min(rows / height, columns / width) * random.uniform(0.6, 1)
        high, wide = int(reach * height), int(reach * width)
        top, left = random.integers(rows - high + 1), random.integers(columns - wide + 1)
        piece = photograph[top : top + high, left : left + wide]
        if random.integers(2):
            piece = piece[:, ::-1]
        enlarged = cv2.resize(piece, (width, height), interpolation=cv2.INTER_CUBIC)
        top, left = random.integers(height + 1), random.integers(width + 1)
        grain = noise[top : top + height, left : left + width, None]
        image = np.clip(enlarged + grain, 0, 255).astype(np.uint8)
        files.append(os.path.join(target, f"{number:05d}.jpg"))
        with open(files[-1], "wb") as file:
            file.write(encode(image, Conversion(quality=_QUALITY, restart=restart)))
    return files


def write_pack(stem: str, files: Sequence[str], conversion: Conversion, classes: int = 1000) -> str:
    """Pack files without manifest, the classes in turn; return the path of the shard."""
    with RecordWriter(f"{stem}.rec", f"{stem}.idx") as writer:
        for number, path in enumerate(files):
            with open(path, "rb") as file:
                image = convert(file.read(), conversion)
            writer.write(number, pack_header(float(number % classes), number) + image)
    return f"{stem}.rec"


def pack_photographs(folder: str, count: int) -> str:
    """Pack photographs of class 0 as by im2rec.py --resize 256; return the path of the shard."""
    files = make_photographs(os.path.join(folder, "images"), count)
    conversion = Conversion(resize=256, restart="auto")
    return write_pack(os.path.join(folder, "train"), files, conversion, classes=1)


def _package_photographs() -> List[np.ndarray]:
    """Return the package's photographs ordered by name, each BGR uint8 (height, width, 3)."""
    files = sorted(assets.path("photos").rglob("*.jpg"))
    return [cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) for path in files]
