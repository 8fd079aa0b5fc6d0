"""tools/methods_study.py: which trainings it starts, what it keeps, and what its table says."""

import math
import sys

import numpy as np
import pytest
from conftest import ROOT
from test_tools import tool

from imagenet_trainer.config import FitSettings, flags
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.parts import labels_of
from imagenet_trainer.errors import InputError


@pytest.fixture(scope="module")
def study():
    sys.path.insert(0, str(ROOT / "tools"))
    module = sys.modules["methods_study"] = tool("methods_study")
    yield module
    del sys.modules["methods_study"]
    sys.path.remove(str(ROOT / "tools"))


def settings_of(study, *words):
    return flags.parse(study.StudySettings, [*map(str, words)], "methods_study", "")


def test_the_flags_of_all_methods_are_those_of_fit(study):
    for cell in study.cells(settings_of(study, "--seeds", "3")):
        words = study.command(cell, settings_of(study))[3:]
        assert flags.parse(FitSettings, words, "fit", "").seed == cell.seed
    names = [method.name for method in study.METHODS]
    assert len({study.folder_of(cell, "x") for cell in study.cells(settings_of(study))}) == len(
        study.cells(settings_of(study))
    )
    assert len(set(names)) == len(names)
    assert {method.against for method in study.METHODS} <= set(names)


def test_seeds_count_once(study, capsys):
    assert settings_of(study, "--seeds", "3,1,3", "--data-train", "c++/(a.rec").seeds == (3, 1)
    with pytest.raises(SystemExit):
        settings_of(study, "--seeds", "")
    assert "--seeds: '': must be" in capsys.readouterr().err


def test_a_method_brings_what_it_needs(study):
    names = [method.name for method in study.chosen(["--teacher"])]
    assert names == ["baseline", "teacher: ResNet-20", "--teacher ResNet-20"]
    with pytest.raises(InputError, match="no-such"):
        study.chosen(["no-such"])


def results_of(study, values):
    return {
        (name, seed): study.Result(rank1, 0.5, 60.0, 90.0)
        for name, all_seeds in values.items()
        for seed, rank1 in enumerate(all_seeds)
    }


def test_differences_are_paired_and_their_variance_is_pooled(study):
    base = [0.90, 0.92, 0.94]
    values = {
        "baseline": base,
        "--mixup 0.2": [one + change for one, change in zip(base, (0.010, 0.012, 0.014))],
        "--random-erasing 0.25": [
            one + change for one, change in zip(base, (-0.010, -0.012, -0.014))
        ],
        "--cutmix 1": [one + change for one, change in zip(base, (-0.001, 0.001, 0.003))],
        "--blur-pool 1": base[:2],  # unfinished
        "rare classes: baseline": [0.5, 0.6, 0.7],
        "rare classes: --sample-weights sqrt": [0.6, 0.6, 0.6],
    }
    found = {row.method.name: row for row in study.rows(results_of(study, values), (0, 1, 2))}
    rare = ["rare classes: baseline", "rare classes: --sample-weights sqrt"]
    assert list(found) == ["baseline", "--cutmix 1", "--random-erasing 0.25", "--mixup 0.2", *rare]
    # The deviation 0.1 of their differences has no influence on the others; 4.303 is Student's
    # quantile for 2 degrees of freedom.
    assert found[rare[1]].margin == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=1e-3)
    # Each has the deviation 0.002; 2.447 is Student's 0.975 quantile for 6 degrees of freedom.
    for name in ("--mixup 0.2", "--random-erasing 0.25", "--cutmix 1"):
        assert found[name].margin == pytest.approx(2.447 * 0.002 / math.sqrt(3), rel=1e-3)
    verdicts = ["", "no difference", "costs", "pays", "", "no difference"]
    assert [study.verdict(row) for row in found.values()] == verdicts
    lines = [*study.table([*found.values()])]
    assert lines[2] == "| baseline | 92.00 |  |  | 1.0 |  |"
    assert lines[5] == "| `--mixup 0.2` | 93.20 | +1.20 | +0.92 to +1.48 | 1.0 | pays |"


def test_results_are_kept_and_other_flags_are_not_mixed(study, tmp_path):
    path = str(tmp_path / "r.csv")
    settings = settings_of(study, "--methods", "mirror")
    results = results_of(study, {"baseline": [0.9], "--blur-pool 1": [0.8, 0.7]})
    study.write_results(path, results, settings)
    assert study.read_results(path, settings) == results
    assert study.read_results(path, settings_of(study, "--more", "--wd 0")) == {}
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="--results"):
        study.read_results(path, settings)


def test_rare_classes_have_a_share_that_falls_geometrically(study, packed, tmp_path):
    rec = str(packed / "train.rec")
    study.make_rare(rec, str(tmp_path / "rare"))
    with open_dataset(rec).shards as shards:
        before = np.bincount(labels_of(shards))
    with open_dataset(str(tmp_path / "rare.rec")).shards as shards:
        after = np.bincount(labels_of(shards))
    last = len(before) - 1
    expected = [max(1, round(n * 100 ** (-c / last))) for c, n in enumerate(before.tolist())]
    assert after.tolist() == expected and after[0] == before[0]


def test_a_study_finishes_what_was_interrupted(study, monkeypatch, tmp_path, capsys):
    """Trainings are replaced by a program that fails once."""
    program = tmp_path / "train.py"
    program.write_text(
        "import os, sys\n"
        "folder, seed = sys.argv[1:]\n"
        "first = not os.path.exists(folder)\n"
        "os.makedirs(folder, exist_ok=True)\n"
        "sys.exit(seed == '1' and first and 'baseline' in folder)\n"
    )
    started = []

    def command(cell, settings):
        started.append((cell.method.name, cell.seed))
        folder = study.folder_of(cell, settings.output)
        return [sys.executable, "-S", str(program), folder, str(cell.seed)]

    monkeypatch.setattr(study, "command", command)
    monkeypatch.setattr(study, "result_of", lambda _, spent: study.Result(0.9, 0.5, spent, 1.0))
    words = ["--output", tmp_path / "out", "--results", tmp_path / "r.csv", "--seeds", "0,1"]
    words += ["--methods", "random-erasing"]
    assert study.main([*map(str, words)]) == 1
    assert "baseline, seed 1: failed" in capsys.readouterr().err
    assert study.main([*map(str, words), "--jobs", "2"]) == 0
    cells = [
        ("baseline", 0),
        ("baseline", 1),
        ("--random-erasing 0.25", 0),
        ("--random-erasing 0.25", 1),
    ]
    assert started == [*cells[:2], *cells[1:]]
    assert "| `--random-erasing 0.25` | 90.00 | +0.00 |" in capsys.readouterr().out
    assert study.main([*map(str, words), "--table"]) == 0
    assert len(started) == 5


def test_the_guide_has_the_table_of_the_results(study):
    settings = settings_of(study)
    path = ROOT / settings.results
    if not path.exists():
        pytest.skip("the study has not been run")
    found = study.rows(study.read_results(str(path), settings), settings.seeds)
    assert "\n".join(study.table(found)) in (ROOT / "docs" / "methods.md").read_text()
