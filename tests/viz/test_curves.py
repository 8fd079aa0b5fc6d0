import io
import math

import numpy as np
import pytest
from PIL import Image

from imagenet_trainer.viz.curves import _headline, draw

TRAIN, VALIDATION, RATE = (42, 111, 151), (209, 73, 91), (106, 76, 147)


def row(epoch, rate=0.1, **more):
    return {
        "epoch": epoch, "train_loss": 2 / epoch, "train_rank1": 0.3, "train_rank5": 0.6,
        "val_loss": 1.9 / epoch, "val_rank1": 1 - 1 / (epoch + 1), "val_rank5": 0.9,
        "learning_rate": rate, **more,
    }  # fmt: skip


def pixels(rows):
    """The three thirds of the picture, each RGB (height, width, 3)."""
    image = Image.open(io.BytesIO(draw(rows, "run $x_1$ 100% {")))  # which is not math
    assert image.format == "PNG" and image.size == (1320, 440)
    return np.split(np.asarray(image.convert("RGB")), 3, axis=1)


def has(part, colour):
    return (part == colour).all(axis=2).any()


def test_each_plot_has_its_lines():
    loss, rank, rate = pixels([row(epoch) for epoch in range(1, 6)])
    for part, colours in ((loss, (TRAIN, VALIDATION)), (rank, (TRAIN, VALIDATION)), (rate, [RATE])):
        for colour in (TRAIN, VALIDATION, RATE):
            assert has(part, colour) == (colour in colours)


def test_a_line_follows_its_numbers():
    # Rank-1 rises from 50 to 91 %: the validation line's left end is lower than its right end.
    _, rank, _ = pixels([row(epoch, val_rank5=math.nan) for epoch in range(1, 11)])
    rows, columns = np.nonzero((rank == VALIDATION).all(axis=2))
    columns_of_line = columns[rows > 150]  # below the legend
    left, right = columns_of_line.min(), columns.max()
    assert rows[columns == left].max() > rows[columns == right].max()


def test_rows_read_from_history_csv():
    # Text, empty cells of an older version, an epoch without a training loss.
    as_text = [{name: str(value) for name, value in row(epoch).items()} for epoch in (1, 2, 3)]
    as_text[1]["train_loss"] = "nan"
    as_text[2]["val_rank5"] = ""
    assert has(pixels(as_text)[0], TRAIN)


@pytest.mark.parametrize("rate", [1e-7, 0.0])
def test_extreme_learning_rates(rate):
    pixels([row(1, 0.1), row(2, rate)])


def test_one_epoch_and_many():
    assert has(pixels([row(1)])[0], TRAIN)
    rate = pixels([row(epoch, 0.1**epoch) for epoch in range(1, 91)])[2]
    # The labels of a logarithmic axis are short.
    assert np.nonzero((rate == RATE).all(axis=2))[1].min() < 100


def test_rows_without_values():
    pixels([row(1, math.nan, **dict.fromkeys(["train_loss", "val_loss", "val_rank1"], math.inf))])


def test_no_epoch():
    with pytest.raises(ValueError, match="no epoch"):
        draw([], "x")


def test_the_headline_shows_the_best_epoch():
    columns = {"epoch": [1.0, 2.0, 3.0], "val_rank1": [0.5, 0.7, 0.6]}
    assert _headline(columns, "a") == (
        "a, epoch 3: validation rank-1 60.0 %, best 70.0 % after epoch 2"
    )
