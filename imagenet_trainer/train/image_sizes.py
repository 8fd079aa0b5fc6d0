"""Progressive resizing: the size of training images, a function of the epoch.

Training on small images first takes less time and is corrected by the larger ones at the end (as in
FFCV's configurations; Touvron et al. 2019, "Fixing the train-test resolution discrepancy",
arXiv:1906.06423). Validation and the checkpoint keep --image-shape.
"""

from typing import Any, Callable, Iterator, List, Tuple

from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.values import sizes_of_epochs
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import GraphError

Size = Tuple[int, int]  # height, width


def size_at(settings: FitSettings, epoch: int) -> Size:
    """Height and width of the training images of an epoch, counted from 0."""
    size = settings.image_shape[1], settings.image_shape[2]
    for first, side in _schedule(settings):
        if first <= epoch:
            size = side, side
    return size


def segments(
    settings: FitSettings, first_update: Callable[[int], int], updates: range
) -> Iterator[Tuple[range, Size]]:
    """Ranges of updates whose images have one size, in their order, with that size.

    `first_update` is that of an epoch.
    """
    changes = [first_update(epoch) for epoch, _ in _schedule(settings)]
    starts = sorted({updates.start, *(one for one in changes if one in updates)})
    epoch = 0
    for start, end in zip(starts, [*starts[1:], updates.stop]):
        while epoch + 1 < settings.num_epochs and first_update(epoch + 1) <= start:
            epoch += 1
        yield range(start, end), size_at(settings, epoch)


def check_sizes(settings: FitSettings, symbol: Any, name: str) -> None:
    """InputError for a size that the network cannot be trained with."""
    schedule = _schedule(settings)
    wanted = parameter_shapes(symbol, settings.image_shape) if schedule else None
    for epoch, side in schedule:
        where = f"--image-size-schedule {epoch}:{side}: "
        if epoch >= settings.num_epochs:
            raise InputError(
                f"{where}--num-epochs is {settings.num_epochs}, and epochs count from 0; use a "
                "lower one"
            )
        try:
            shapes = parameter_shapes(symbol, (3, side, side))
        except GraphError as error:
            raise InputError(f"{where}is too small for {name} ({error}); use more") from error
        if shapes != wanted:
            raise InputError(
                f"{where}the parameters of {name} depend on the size of its images; use a network "
                "with global pooling, or omit the flag"
            )


def _schedule(settings: FitSettings) -> List[Tuple[int, int]]:
    return sizes_of_epochs(settings.image_size_schedule)
