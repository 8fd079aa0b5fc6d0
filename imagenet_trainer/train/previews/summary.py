"""`fit --summary`: the layers of the network, its parameters and multiply-adds, as a table."""

from imagenet_trainer.config import FitSettings
from imagenet_trainer.symbols.summary import summarise, table
from imagenet_trainer.train.datasets import number_of_classes
from imagenet_trainer.train.setup import training_setup


def print_summary(settings: FitSettings) -> int:
    """Print the table, for the number of classes of the shard if it exists."""
    setup = training_setup(settings)
    classes, image_shape = number_of_classes(settings), setup.settings.image_shape
    symbol = setup.symbol(classes)
    print(f"{setup.name}: {classes} classes, images of {' x '.join(map(str, image_shape))}\n")
    print(table(summarise(symbol, image_shape), settings.batch_size))
    return 0
