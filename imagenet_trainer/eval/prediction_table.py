"""The predictions of an epoch as a table with a row for each image: `evaluate --table`."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.dataset import Classes
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.system import parquet
from imagenet_trainer.system.files import write_csv
from imagenet_trainer.text import csv_cell


def columns_of(
    predictions: Predictions, classes: Classes, names: Mapping[int, str]
) -> Dict[str, List[Any]]:
    """The columns by name, in the order of the shards; docs/formats.md describes them.

    `names` are the files of the images by their keys, as far as they are known.
    """
    ids, titles = ([csv_cell(one[part]) for one in classes] for part in (0, 1))
    keys, labels = predictions.keys.tolist(), predictions.labels.tolist()
    columns: Dict[str, List[Any]] = {
        "key": keys,
        "file": [csv_cell(names.get(key, "")) for key in keys],
        "label": labels,
        "label_id": [ids[label] for label in labels],
        "label_name": [titles[label] for label in labels],
        "label_probability": predictions.true.tolist(),
        "rank": predictions.rank.tolist(),
    }
    for place in range(predictions.top.shape[1]):
        found = predictions.top[:, place].tolist()
        columns[f"class{place + 1}"] = found
        columns[f"id{place + 1}"] = [ids[one] for one in found]
        columns[f"name{place + 1}"] = [titles[one] for one in found]
        columns[f"probability{place + 1}"] = predictions.probabilities[:, place].tolist()
    return columns


def write_tables(
    path: Path, columns: Mapping[str, Sequence[Any]], kinds: Sequence[str]
) -> Iterator[Tuple[str, Path]]:
    """Write the table in each of the kinds, csv and parquet, beside `path`; yields the files.

    Raises InputError without pyarrow, and for a file that cannot be written.
    """
    for kind in kinds:
        table = path.with_suffix(f".{kind}")
        if kind == "parquet":
            parquet.write_table(table, columns)
        else:
            write_csv(table, columns, (map(_cell, row) for row in zip(*columns.values())))
        yield kind, table


def _cell(value: Any) -> Any:
    """A probability in as many digits as float32 has."""
    return str(np.float32(value)) if isinstance(value, float) else value
