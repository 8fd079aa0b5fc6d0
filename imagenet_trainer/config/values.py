"""Types of flags: functions from a flag's text to its value.

Each raises ValueError with what the text "must be" where it cannot be converted.
"""

import math
import re
import shlex
from typing import Any, Callable, List, Optional, Set, Tuple

Parser = Callable[[str], Any]

INTERPOLATIONS = ("bilinear", "area", "bicubic", "pil-bilinear", "pil-bicubic")
"""Values of --val-interp; the first is the default."""
BEST = -1  # stands for the epoch `best` until it is looked up in the run
_SMALLEST = 1.2e-38  # of float32, in which the engines compute
_MAX_EPOCH = 999_999  # keeps a mistyped range from filling the memory


def number(
    low: float = -math.inf, high: float = math.inf, above: bool = False, below: bool = False
) -> Parser:
    """A finite float in [low, high], in (low, high] with `above`, in [low, high) with `below`."""

    def parse_number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        enough = low < value if above else low <= value
        if not enough or value > high or (below and value == high):
            raise ValueError(f"must be {_range(low, high, above, below)}")
        if 0 < abs(value) < _SMALLEST:
            raise ValueError(f"must be 0, or differ from it by {_SMALLEST:g} or more")
        return value

    return parse_number


def integer(low: int, high: float = math.inf) -> Parser:
    """An integer in [low, high]."""

    def parse_integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("must be an integer") from None
        if not low <= value <= high:
            raise ValueError(f"must be {_range(low, high, False)}")
        return value

    return parse_integer


def share_or_count(text: str) -> float:
    """A share in [0, 1), or a whole number from 1 on."""
    value = number(0)(text)
    if value >= 1 and value != int(value):
        raise ValueError("must be a share below 1 or a whole number of images")
    return value


def numbers(count: Optional[int] = None, low: float = -math.inf, above: bool = False) -> Parser:
    """Comma-separated floats, `count` of them if given; an empty text is an empty tuple."""

    def parse_numbers(text: str) -> Tuple[float, ...]:
        parts = text.split(",") if text.strip() else []
        values = tuple(number(low, math.inf, above)(part) for part in parts)
        if count is not None and len(values) != count:
            raise ValueError(f"must be {count} comma-separated numbers")
        return values

    return parse_numbers


def integers(low: int, least: int = 0) -> Parser:
    """Comma-separated integers, `least` or more of them; an empty text is an empty tuple."""

    def parse_integers(text: str) -> Tuple[int, ...]:
        parts = text.split(",") if text.strip() else []
        is_right = all(re.fullmatch(r"\s*[+-]?\d+\s*", part) for part in parts)
        if len(parts) < least or not is_right:
            raise ValueError("must be comma-separated integers")
        return tuple(integer(low)(part) for part in parts)

    return parse_integers


def strings(text: str) -> Tuple[str, ...]:
    """Comma-separated strings without the spaces around them; empty ones are dropped."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def subset(*choices: str, least: int = 0) -> Parser:
    """Some of the choices, `least` or more, comma-separated; each once, in the given order."""

    def parse_subset(text: str) -> Tuple[str, ...]:
        chosen = tuple(dict.fromkeys(strings(text)))
        if len(chosen) < least or not set(chosen) <= set(choices):
            raise ValueError(f"must be a comma-separated list of {', '.join(choices)}")
        return chosen

    return parse_subset


def switch(text: str) -> bool:
    """0 or 1, as in MXNet's scripts."""
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def image_shape(text: str) -> Tuple[int, ...]:
    """`3,height,width` in MXNet's order."""
    shape = integers(1)(text)
    if len(shape) != 3 or shape[0] != 3:
        raise ValueError("must be 3,height,width, such as 3,224,224: images are read as RGB")
    return shape


def sizes_of_epochs(text: str) -> List[Tuple[int, int]]:
    """Epochs and the sides of their images, of `0:160,11:176,13:192`; none of an empty text."""
    pairs = [part.split(":") for part in filter(None, text.split(","))]
    if not all(len(pair) == 2 and all(re.fullmatch(r"\d{1,9}", one) for one in pair)
               for pair in pairs):  # fmt: skip
        raise ValueError("must be EPOCH:SIZE,EPOCH:SIZE ..., such as 0:160,11:176,13:192")
    return [(int(epoch), int(side)) for epoch, side in pairs]


def size_schedule(text: str) -> str:
    """The same text without spaces; ValueError unless it begins at epoch 0 and goes upwards."""
    text = text.replace(" ", "")
    pairs = sizes_of_epochs(text)
    epochs = [epoch for epoch, _ in pairs]
    if pairs and (epochs[0] != 0 or epochs != sorted(set(epochs))):
        raise ValueError("must begin with epoch 0, and its epochs must increase")
    if not all(side for _, side in pairs):
        raise ValueError("must have sizes of 1 or more")
    return ",".join(f"{epoch}:{side}" for epoch, side in pairs)


def rgb_mean(text: str) -> Tuple[float, ...]:
    """Mean of red, green, blue on the scale 0-255."""
    return _on_our_scale(numbers(3)(text))


def rgb_std(text: str) -> Tuple[float, ...]:
    """Standard deviation of red, green, blue on the scale 0-255."""
    return _on_our_scale(numbers(3, 0, above=True)(text))


def _on_our_scale(values: Tuple[float, ...]) -> Tuple[float, ...]:
    """The values; ValueError for those of torchvision and timm, which are on the scale 0-1."""
    if all(0 < value < 1 for value in values):
        ours = ",".join(f"{255 * value:.6g}" for value in values)
        raise ValueError(f"must be on the scale 0-255: {ours}")
    return values


# What to use instead of MXNet's other optimizers, and of those of other libraries.
_NO_OPTIMIZERS = {
    "lars": "use lbsgd, whose rates are those of lars without its coefficient 0.001",
    "ccsgd": "use sgd, which it is in MXNet",
    "dcasgd": "use sgd; with momentum MXNet's own stops with an error",
    "sgld": "use sgd; it draws networks at random instead of finding one",
    "ftrl": "use adagrad; it is for linear models and replaces the initial weights",
    "groupadagrad": "use adagrad; it is for embeddings",
    "momentum": "use sgd with --mom",
}
OPTIMIZERS = (
    "sgd", "nag", "adam", "lbsgd", "rmsprop", "rmsproptf", "rmsproptorch", "adagrad", "adadelta",
    "adamax", "nadam", "ftml", "signum", "lamb", "adamw", "lion",
)  # fmt: skip


def optimizer(text: str) -> str:
    """The name of an update rule; MXNet's names are case-insensitive."""
    name = text.lower()
    if name not in OPTIMIZERS:
        way_out = _NO_OPTIMIZERS.get(name)
        known = f"must be one of {', '.join(OPTIMIZERS)}"
        raise ValueError(f"must be another rule; {way_out}" if way_out else known)
    return name


def top_k(text: str) -> int:
    """0, or 2 and more: the accuracy itself is logged in any case."""
    value = integer(0)(text)
    if value == 1:
        raise ValueError("must be 0, or 2 or more; the accuracy is always logged")
    return value


def losses(text: str) -> Tuple[str, ...]:
    """Losses of MXNet's scripts: `ce`, `nll` or both; `nll_loss` is `nll`."""
    return subset("ce", "nll")(text.replace("nll_loss", "nll"))


KVSTORES = (
    "local", "device", "nccl", "dist_sync", "dist_device_sync", "dist_async", "dist_device_async",
)  # fmt: skip
_LOCAL = {
    "local_update_cpu": "local",
    "local_allreduce_cpu": "local",
    "local_allreduce_device": "device",
}


def kvstore(text: str) -> str:
    """A kind of kvstore, also in the other forms that `mx.kv.create` takes.

    MXNet looks for parts of the name: `dist_sync_device` is `dist_device_sync`, and
    `local_allreduce_device` is `device`.
    """
    name = text.lower()
    on_device = "_device" if "device" in name else ""
    if name == "dist" or name.startswith("dist_"):
        name = f"dist{on_device}_{'async' if '_async' in name else 'sync'}"
        known = set(text.lower().split("_")) <= {"dist", "sync", "async", "device"}
    else:
        known = name in (*KVSTORES, *_LOCAL)
        name = _LOCAL.get(name, name)
    if not known:
        raise ValueError(f"must be one of {', '.join(KVSTORES)}")
    return name


def epoch_number(text: str) -> int:
    """`7`; `best` gives BEST."""
    return BEST if text == "best" else integer(0)(text)


def epochs(text: str) -> Tuple[int, ...]:
    """Epoch numbers such as `7`, `1-30` or `1,5,10-12`; `all` gives (), `best` gives (BEST,)."""
    if text in ("all", "best"):
        return () if text == "all" else (BEST,)
    chosen: Set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low = integer(0, _MAX_EPOCH)(first)
        high = integer(0, _MAX_EPOCH)(last) if dash else low
        if high < low:
            raise ValueError(f"must start with the lower epoch: {high}-{low}")
        chosen.update(range(low, high + 1))
    return tuple(sorted(chosen))


def checkpoint(text: str) -> Tuple[str, int]:
    """`PREFIX,EPOCH`, with a number or `best` as EPOCH."""
    prefix, _, epoch = text.rpartition(",")
    if not prefix or not (epoch == "best" or epoch.isdigit()):
        raise ValueError("must be PREFIX,EPOCH, such as runs/resnet-18/model,80 or resnet-18,0")
    return prefix, epoch_number(epoch)


def pattern(text: str) -> str:
    """A regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from None
    return text


def extensions(text: str) -> str:
    """File name extensions such as `.jpg .PNG`; gives `.jpg,.png`."""
    parts = text.lower().replace(",", " ").split()
    if not parts or not all(re.fullmatch(r"\.\w+", part) for part in parts):
        raise ValueError("must be file name extensions, such as .jpg .png")
    return ",".join(parts)


def command(text: str) -> Tuple[str, ...]:
    """A program and its arguments, split as in a shell; an empty text is an empty tuple."""
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise ValueError("must be a command with closed quotes") from None


def _range(low: float, high: float, above: bool, below: bool = False) -> str:
    # The format `g` would make 1e+06 of the integer 1000000.
    least, most = (f"{end:g}" if isinstance(end, float) else str(end) for end in (low, high))
    if below:
        return f"{least} or more, and below {most}"
    if high == math.inf:
        return f"above {least}" if above else f"{least} or more"
    return f"above {least}, at most {most}" if above else f"from {least} to {most}"
