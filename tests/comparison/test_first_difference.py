"""Two small runs whose difference is known."""

import hashlib
import json
import shutil

import pytest
from helpers.fit_runs import words_of

from imagenet_trainer import compare, fit
from imagenet_trainer.comparison.first_difference import compare_runs
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.events import read_events


def trained(packed, folder, *more):
    words = [*words_of(packed), "--model-prefix", str(folder / "model"), *map(str, more)]
    assert fit.main(words) == 0
    return str(folder / "model")


@pytest.fixture(scope="module")
def straight(packed, tmp_path_factory):
    """The prefix of a run of two epochs of 7 and 8 updates."""
    return trained(packed, tmp_path_factory.mktemp("straight"))


@pytest.fixture
def copy(straight, tmp_path):
    """The prefix of a copy of that run, and a function that changes its events."""
    folder = tmp_path / "copy"
    shutil.copytree(straight.rpartition("/")[0], folder)

    def change(edit):
        path = folder / "events.jsonl"
        events = [json.loads(line) for line in path.read_text().splitlines()]
        edited = [edit(event) for event in events]
        path.write_text("".join(json.dumps(event) + "\n" for event in edited))

    return str(folder / "model"), change


def test_the_digest_is_that_of_the_file(straight):
    folder = straight.rpartition("/")[0]
    saved = [e for e in read_events(f"{folder}/events.jsonl") if e["event"] == "checkpoint"]
    assert len(saved) == 2
    for event in saved:
        with open(f"{folder}/{event['file']}", "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == event["params_sha256"]


def test_the_same_training_twice(packed, straight, tmp_path, capsys):
    again = trained(packed, tmp_path)
    capsys.readouterr()
    assert compare.main(["--runs", straight, again, "--first-difference"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "no difference up to update 15",
        "equal bit for bit: 15 intervals, 2 checkpoints, 2 validations",
        "the settings, images and versions are the same",
    ]


def test_another_rate_in_the_second_epoch(packed, straight, tmp_path, capsys):
    other = trained(packed, tmp_path, "--lr-step-epochs", "1")
    capsys.readouterr()
    assert compare.main(["--runs", straight, other, "--first-difference"]) == 1
    lines = capsys.readouterr().out.splitlines()
    # The rate of update 8 changes what update 9 sees.
    assert lines[0] == "first difference: update 9"
    assert lines[1].startswith(f"  {straight}: loss ")
    assert lines[2].startswith(f"  {other}: loss ")
    assert lines[3] == (
        "equal bit for bit: 8 intervals, 1 checkpoints, 1 validations, up to update 8"
    )
    assert lines[4:] == ["different: --lr-step-epochs 30.0,60.0 and 1.0"]


def test_a_checkpoint_that_differs(straight, copy):
    other, change = copy
    change(lambda e: {**e, "params_sha256": "0"} if e.get("file") == "model-0001.params" else e)
    outcome = compare_runs((straight, other))
    found = outcome.difference
    assert (found.kind, found.update, found.values[1]) == ("checkpoint", 7, "0")
    assert outcome.equal == {"interval": 7, "checkpoint": 0, "validation": 0}
    assert not outcome.settings


def test_runs_of_versions_without_digests(straight, copy):
    other, change = copy
    change(lambda event: {n: v for n, v in event.items() if n != "params_sha256"})
    outcome = compare_runs((straight, other))
    assert outcome.difference is None and outcome.equal["checkpoint"] == 0


def test_intervals_of_several_updates_are_named(straight, copy):
    other, change = copy
    pairs = {9: 5, 10: 5}  # loss of updates 9 and 10, and their new number
    change(lambda e: {**e, "loss": pairs[e["update"]], "updates": 2}
           if e["event"] == "interval" and e["update"] in pairs else e)  # fmt: skip
    with_two = compare_runs((straight, other))
    assert with_two.difference is None  # other intervals are not compared
    assert with_two.equal["interval"] == 13
    both = compare_runs((other, other))
    assert both.difference is None and both.equal["interval"] == 15


def test_from_python(straight, copy):
    other, change = copy
    change(lambda e: {**e, "loss": None} if e["event"] == "interval" and e["update"] == 4 else e)
    import imagenet_trainer

    result = imagenet_trainer.compare(runs=[straight, other], first_difference=True)
    assert result["first_difference"]["update"] == 4
    assert result["settings"] == {}


def test_what_cannot_be_compared_is_one_line(straight, copy, capsys):
    other, change = copy
    assert compare.main(["--runs", straight, "--first-difference"]) == 2
    assert "--runs A B" in capsys.readouterr().err
    assert compare.main(["--runs", straight, other, "--first-difference", "--lr", "3"]) == 2
    assert "--lr: has no effect with --first-difference" in capsys.readouterr().err
    assert compare.main(["--runs", straight, other + "-gone", "--first-difference"]) == 2
    assert f"{other}-gone" in capsys.readouterr().err
    change(lambda event: {**event, "update": event.get("update", 0) + 1000})
    with pytest.raises(InputError, match="--disp-batches"):
        compare_runs((straight, other))
