"""Why a network made an error: its image with heat-maps, and the nearest training images."""

from typing import List, NamedTuple, Optional, Sequence

import numpy as np
from matplotlib import colormaps
from PIL import Image

from imagenet_trainer.viz.audit_sheet import Tile, draw_sheet
from imagenet_trainer.viz.html import data_uri
from imagenet_trainer.viz.thumbnails import SIDE, as_jpeg, small

_COLOURS = colormaps["inferno"]  # suits colour vision deficiency, and is bright where it is high
_SHARE = 0.65  # of the colours; the image has the rest, in grey
_BLANK = np.full((SIDE, SIDE, 3), 255, np.uint8)


class Neighbour(NamedTuple):
    """A training image."""

    image: Optional[np.ndarray]  # uint8 (h, w, 3); None if it cannot be decoded
    key: int
    label: str
    predicted: str  # the network's class of this training image
    probability: float
    similarity: float  # cosine of the features
    is_same: bool  # whether it looks like the image, whatever the network says

    @property
    def in_doubt(self) -> bool:
        """Whether the network predicts another class for it, although it was trained on it."""
        return self.label != self.predicted

    @property
    def uri(self) -> Optional[str]:
        """A small JPEG as an address."""
        return None if self.image is None else _uri(small(self.image))


class Explained(NamedTuple):
    """An error."""

    position: int  # in the predictions
    key: int
    true: str
    true_probability: float
    predicted: str
    predicted_probability: float
    image: np.ndarray  # uint8 (h, w, 3), as the network takes it
    # Float32 (h', w') each, 0 or more: what speaks for the predicted and for the labelled class.
    maps: Sequence[np.ndarray]
    neighbours: Sequence[Neighbour]
    findings: Sequence[str]  # sentences about the neighbours

    @property
    def uri(self) -> str:
        """The image as an address."""
        return _uri(small(self.image))

    @property
    def overlays(self) -> List[str]:
        """The image with each map, as addresses."""
        return [_uri(overlay(small(self.image), one)) for one in self.maps]


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A grey image under the colours of a map, uint8 (h, w, 3).

    `image` is uint8 (h, w, 3), `heat` float32 (h', w'), 0 or more. The greatest value has the
    brightest colour; a map of zeros leaves the image dark.
    """
    height, width = image.shape[:2]
    scaled = heat / max(float(heat.max()), 1e-30)
    large = np.asarray(
        Image.fromarray(scaled.astype(np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
    )
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)[..., None]
    colours = _COLOURS(np.clip(large, 0, 1))[..., :3] * 255
    return np.rint(_SHARE * colours + (1 - _SHARE) * grey).astype(np.uint8)


def draw_explained(explained: Sequence[Explained], title: str) -> Image.Image:
    """A contact sheet with a row for each error."""
    neighbours = max((len(one.neighbours) for one in explained), default=0)
    maps = max((len(one.maps) for one in explained), default=0)
    tiles: List[Tile] = []
    for one in explained:
        image = small(one.image)
        row: List[Tile] = [(
            image, f"key {one.key}", f"{one.true} {one.true_probability:.2f}",
            f"{one.predicted} {one.predicted_probability:.2f}",
        )]  # fmt: skip
        for heat, name in zip(one.maps, (one.predicted, one.true)):
            row.append((overlay(image, heat), "speaks for", name, ""))
        for other in one.neighbours:
            shown = _BLANK if other.image is None else small(other.image)
            doubt = f"predicted {other.predicted}" if other.in_doubt else ""
            about = f"near {other.key}, {other.similarity:.2f}{' same' * other.is_same}"
            row.append((shown, about, other.label, doubt))
        row += [(_BLANK, "", "", "")] * (1 + maps + neighbours - len(row))
        tiles += row
    return draw_sheet(tiles, title, 1 + maps + neighbours)


def _uri(image: np.ndarray) -> str:
    """A JPEG of uint8 (h, w, 3) RGB as an address."""
    return data_uri(as_jpeg(np.ascontiguousarray(image[..., ::-1])), "image/jpeg")
