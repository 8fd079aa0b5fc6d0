"""evaluate --table: the rows of predictions-EPOCH.npz for other programs."""

import sys

import numpy as np
import pandas as pd
import pytest
from helpers.evaluated import refusal

from imagenet_trainer import evaluate
from imagenet_trainer.eval.prediction_table import columns_of
from imagenet_trainer.metrics.predictions import load


def check(table, predictions):
    """All values of the .npz are in a table, exactly."""
    top, probabilities = predictions.top, predictions.probabilities
    for name, wanted in (
        ("key", predictions.keys), ("label", predictions.labels), ("rank", predictions.rank),
        *((f"class{place + 1}", top[:, place]) for place in range(top.shape[1])),
    ):  # fmt: skip
        assert table[name].dtype == np.int64
        np.testing.assert_array_equal(table[name], wanted)
    for name, wanted in (
        ("label_probability", predictions.true),
        *((f"probability{place + 1}", column) for place, column in enumerate(probabilities.T)),
    ):
        np.testing.assert_array_equal(table[name].astype(np.float32), wanted)


def test_the_tables_equal_the_predictions(prefix):
    pytest.importorskip("pyarrow")
    one = evaluate(model_prefix=prefix, epochs=2, table=("csv", "parquet"))[2]
    predictions = load(one.files.predictions)
    tables = pd.read_csv(one.files.csv), pd.read_parquet(one.files.parquet)
    for table in tables:
        check(table, predictions)
        assert (table["rank"] == 0).mean() == pytest.approx(one.rank1)
        # The folder of an image is its class.
        assert (table["file"].str.split("/").str[0] == table["label_id"]).all()
        assert (table["id1"] == np.array(["circle", "cross", "square"])[table["class1"]]).all()
        assert (table["label_name"] == table["label_id"]).all() and len(table.columns) == 19
    assert [*tables[0].columns] == [*tables[1].columns]


def test_names_are_as_far_as_they_are_known(prefix):
    evaluate(model_prefix=prefix, epochs=2)
    predictions = load(prefix.replace("model", "predictions-0002.npz"))
    classes = [("=1+1", "a"), ("b", "b"), ("c", "c")]
    names = {int(key): f"image-{key}" for key in predictions.keys[1:]}
    columns = columns_of(predictions, classes, names)
    assert columns["file"] == ["", *names.values()] and "'=1+1" in columns["label_id"]


def test_parquet_needs_its_library(prefix, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    line = refusal(capsys, "--model-prefix", prefix, "--table", "parquet")
    assert "--table parquet: needs pyarrow" in line and "pip install" in line
