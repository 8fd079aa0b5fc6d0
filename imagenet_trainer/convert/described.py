"""Preprocessing and classes that files of parameters describe.

A file of `export --to torch` has them in its metadata; timm's model folders have a `config.json`.
"""

import json
import math
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.checkpoint import Preprocessing
from imagenet_trainer.system.files import read_bytes

Classes = Tuple[Tuple[str, str], ...]
PREPROCESSING, CLASSES, NETWORK = "preprocessing", "classes", "network"
_LARGEST_CONFIG = 1 << 24  # bytes


def to_metadata(
    preprocessing: Preprocessing, classes: Classes, network: str = ""
) -> Dict[str, str]:
    """What `described_preprocessing` and `described_classes` read; the network's name here."""
    return {
        "format": "pt",  # what transformers and timm expect
        **({NETWORK: network} if network else {}),
        PREPROCESSING: json.dumps(vars(preprocessing)),
        CLASSES: json.dumps([list(one) for one in classes]),
    }


def described_preprocessing(
    path: str, metadata: Mapping[str, str], default: Preprocessing
) -> Preprocessing:
    """That of the metadata or of timm's `config.json` beside the file; else the default.

    Raises InputError for a description that is not one.
    """
    if PREPROCESSING in metadata:
        return _ours(path, metadata[PREPROCESSING], default)
    config = Path(path).with_name("config.json")
    if config.is_file() and config.stat().st_size <= _LARGEST_CONFIG:
        return _timms(config, default)
    return default


def described_classes(metadata: Mapping[str, str], default: Classes) -> Classes:
    """The (id, name) of the metadata if they are as many as the default's; else the default."""
    try:
        found = json.loads(metadata.get(CLASSES, "[]"))
        classes = tuple((str(name), str(title)) for name, title in found)
    except (ValueError, TypeError):
        return default
    return classes if len(classes) == len(default) else default


def _ours(path: str, text: str, default: Preprocessing) -> Preprocessing:
    try:
        found = json.loads(text)
        shape = tuple(int(n) for n in found["image_shape"])
        mean, std = _colours(found["rgb_mean"]), _colours(found["rgb_std"])
        resize, bgr = int(found["val_resize"]), bool(found["bgr"])
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: its description of the preprocessing is damaged") from error
    if mean is None or std is None or resize < 0 or len(shape) != 3 or shape[0] != 3:
        raise InputError(f"{path}: its description of the preprocessing is damaged")
    return Preprocessing(shape, mean, std, resize, bgr)


def _timms(config: Path, default: Preprocessing) -> Preprocessing:
    """`pretrained_cfg` has mean and std of 0 to 1, and crop_pct, the crop's part of the image."""
    try:
        found = json.loads(read_bytes(config))
        about = found.get("pretrained_cfg", found)
        mean = _colours([255 * value for value in about["mean"]])
        std = _colours([255 * value for value in about["std"]])
        part = float(about.get("crop_pct", 0.875))
    except (ValueError, TypeError, KeyError, AttributeError):
        return default  # another program's file of this name
    if mean is None or std is None or not 0 < part <= 1:
        return default
    return Preprocessing(
        default.image_shape, mean, std, math.floor(default.image_shape[1] / part), default.bgr
    )


def _colours(values: Any) -> Optional[Tuple[float, ...]]:
    """Three finite numbers, the deviations above 0 by the caller's flags; None if they are not."""
    found = tuple(float(value) for value in values)
    return found if len(found) == 3 and all(map(math.isfinite, found)) else None
