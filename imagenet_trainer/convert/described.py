"""Preprocessing and classes that files of parameters describe.

Files of `export --to torch` and `--to safetensors` have them in their metadata; timm's model
folders have a `config.json`.
"""

import json
import math
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, Tuple

from imagenet_trainer.config import values
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.checkpoint import Preprocessing
from imagenet_trainer.system.files import read_bytes

Classes = Tuple[Tuple[str, str], ...]
PREPROCESSING, CLASSES, NETWORK, SYMBOL = "preprocessing", "classes", "network", "symbol"
_LARGEST_CONFIG = 1 << 24  # bytes
_LARGEST_SIDE = 4096  # pixels


def to_metadata(
    preprocessing: Preprocessing, classes: Classes, network: str = "", symbol: str = ""
) -> Dict[str, str]:
    """What `described_preprocessing` and `described_classes` read; the network's name or JSON."""
    return {
        "format": "pt",  # what transformers and timm expect
        **({NETWORK: network} if network else {}),
        **({SYMBOL: symbol} if symbol else {}),
        PREPROCESSING: json.dumps(preprocessing.as_dict()),
        CLASSES: json.dumps([list(one) for one in classes]),
    }


def described_preprocessing(
    path: str, metadata: Mapping[str, str], default: Preprocessing
) -> Preprocessing:
    """That of the metadata or of timm's `config.json` beside the file; else the default.

    Raises InputError for a description that is not one.
    """
    if PREPROCESSING in metadata:
        return _ours(path, metadata[PREPROCESSING])
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


def _ours(path: str, text: str) -> Preprocessing:
    """The values, read as those of the flags of the same names are."""
    try:
        found = json.loads(text)
        shape = values.image_shape(_joined(found["image_shape"]))
        mean = values.rgb_mean(_joined(found["rgb_mean"]))
        std = values.rgb_std(_joined(found["rgb_std"]))
        resize = values.integer(0)(str(found["val_resize"]))
        bgr, interpolation = bool(found["bgr"]), found.get("val_interp", values.INTERPOLATIONS[0])
        if max(*shape, resize) > _LARGEST_SIDE:
            raise ValueError(f"more than {_LARGEST_SIDE} pixels")
        return Preprocessing(shape, mean, std, resize, bgr, interpolation)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: its description of the preprocessing is damaged ({error}); export it again"
        ) from error


def _timms(config: Path, default: Preprocessing) -> Preprocessing:
    """`pretrained_cfg` has input_size, mean and std of 0 to 1, and crop_pct, the crop's part."""
    try:
        found = json.loads(read_bytes(config))
        about = found.get("pretrained_cfg", found)
        mean = values.rgb_mean(_joined(255 * value for value in about["mean"]))
        std = values.rgb_std(_joined(255 * value for value in about["std"]))
        shape = values.image_shape(_joined(about.get("input_size", default.image_shape)))
        part = float(about.get("crop_pct", 0.875))
        if not 0.1 <= part <= 1 or max(shape) > _LARGEST_SIDE:
            raise ValueError
        how = f"pil-{about.get('interpolation', 'bicubic')}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return default  # another program's file of this name
    how = how if how in values.INTERPOLATIONS else default.val_interp
    return Preprocessing(shape, mean, std, math.floor(shape[1] / part), default.bgr, how)


def _joined(numbers: Iterable[Any]) -> str:
    return ",".join(map(str, numbers))
