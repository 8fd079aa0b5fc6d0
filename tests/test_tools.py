"""The commands that serve the development: outputs in docs/, structure, equal results."""

import importlib.util
import json

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image


def tool(name):
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def outputs():
    import sys

    # Its dataclasses look their module up.
    module = sys.modules["docs_output"] = tool("docs_output")
    yield module
    del sys.modules["docs_output"]


@pytest.fixture(scope="module")
def structure():
    return tool("architecture")


# --- outputs in docs/ --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "printed", "true"),
    [
        (["60 images"], ["60 images"], True),
        (["60 images"], ["61 images"], False),
        (["60 images, 1.2 s"], ["60 images, 0.3 s"], True),
        (["Speed: 812.40 samples/sec"], ["Speed: 9.1 samples/sec"], True),
        (["first", "...", "last"], ["first", "a", "b", "last"], True),
        (["first", "...", "last"], ["first", "a", "b"], False),
        (["first", "..."], ["first"], True),
        (["a", "...", "c", "...", "e"], ["a", "b", "c", "d", "e"], True),
        (["a", "...", "c", "...", "e"], ["a", "b", "d", "e"], False),
        (["...", "e"], ["a", "e"], True),
        ([""], ["something"], False),
    ],
)
def test_a_shown_output_is_true(outputs, shown, printed, true):
    assert outputs.is_true(shown, printed) is true


PAGE = """# Title

<!-- output: plain -->
```
$ echo one \\
    two
one two
$ echo three
four
```

```
$ echo not run
```
"""


def test_stale_outputs_are_found_and_replaced(outputs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "tools").mkdir()
    (tmp_path / "README.md").write_text("")
    page = tmp_path / "docs" / "page.md"
    page.write_text(PAGE)
    assert outputs.main(["--check"]) == 1
    assert page.read_text() == PAGE and "echo three" in capsys.readouterr().out
    assert outputs.main([]) == 0
    assert page.read_text() == PAGE.replace("four", "three")
    assert outputs.main(["--check"]) == 0


@pytest.mark.parametrize("words", [["--settings", "plain,plian"], ["nosuch.md"]])
def test_settings_and_pages_that_do_not_exist(outputs, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        outputs.main(["--check", *words])
    assert words[-1][-9:].split(",")[-1] in capsys.readouterr().err


@pytest.mark.parametrize(("grey", "replaced"), [(10, False), (200, True)])
def test_pictures_that_show_something_else_are_replaced(
    outputs, tmp_path, monkeypatch, grey, replaced
):
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    drawn, picture = (tmp_path / "docs" / "pictures" / n for n in ("drawn.png", "schedule.png"))
    monkeypatch.setattr(outputs, "PICTURES", {"plain": {"docs/pictures/drawn.png": "schedule.png"}})
    drawn.parent.mkdir(parents=True)
    Image.new("RGB", (2, 2), (grey, 0, 0)).save(drawn)
    Image.new("P", (2, 2)).save(picture)
    before = picture.read_bytes()
    outputs.replace_pictures({"plain": tmp_path})
    assert (picture.read_bytes() != before) is replaced


def test_a_setting_that_does_not_exist(outputs):
    with pytest.raises(ValueError, match="nowhere"):
        list(outputs.blocks_of(PAGE.replace("plain", "nowhere")))


@pytest.mark.parametrize(
    ("setting", "least"),
    [
        ("plain", 3),
        *(pytest.param(one, 5, marks=pytest.mark.slow) for one in ("images", "imagenet")),
    ],
)
def test_outputs_in_the_guides_are_true(outputs, setting, least, capsys):
    pages = [path.read_text(encoding="utf-8") for path in outputs.pages()]
    blocks = [block for page in pages for block in outputs.blocks_of(page)]
    assert sum(block.setting == setting for block in blocks) >= least
    assert outputs.check([setting]) == 0, capsys.readouterr().out


# --- structure ---------------------------------------------------------------------------------


def test_arrows_that_follow_from_others_are_left_out(structure):
    pairs = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")}
    assert structure.reduced(pairs) == {("a", "b"), ("b", "c"), ("a", "d")}


def test_every_module_belongs_to_a_room_on_a_layer(structure):
    rooms = {room for layer in structure.layers() for room in layer}
    found = {structure.room_of(structure.module_of(path)) for path in structure.sources()}
    assert found == rooms | {"imagenet_trainer"}


def test_imports_are_at_the_top_of_a_module(structure):
    late = [line.partition(": ")[2] for line in structure.late_imports()]
    ours = {name for name in late if name.startswith("imagenet_trainer.")}
    # They take a tenth of a second to a second, which would delay every training; YAML is for one
    # flag, importlib.metadata for plug-ins, and an engine alone needs no psutil.
    assert {name.split(".")[0] for name in late if name not in ours} <= {
        "datashader", "importlib", "matplotlib", "pandas", "psutil", "scipy", "xarray", "yaml",
    }  # fmt: skip
    assert ours <= {"imagenet_trainer.runs.tensorboard", "imagenet_trainer.viz.curves"}


# --- equal results -----------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path):
    for name in ("before", "after"):
        run = tmp_path / name / "run"
        run.mkdir(parents=True)
        (run / "model-0001.params").write_bytes(b"parameters")
        (run / "history.csv").write_text(f"epoch,loss,seconds\n1,0.5,{len(name)}\n")
        (run / "evaluation.json").write_text(json.dumps({"rank1": 0.5, "seconds": len(name)}))
        np.savez(run / "predictions-0001.npz", labels=np.arange(3))
    return tmp_path / "before", tmp_path / "after"


def test_times_are_no_differences(two):
    assert list(tool("same_results").compare(*two)) == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model-0001.params", b"Parameters"),
        ("history.csv", b"epoch,loss,seconds\n1,0.6,5\n"),
        ("evaluation.json", b'{"rank1": 0.6, "seconds": 6}'),
        ("model-0002.params", b"one more"),
    ],
)
def test_a_difference_is_named(two, name, data):
    (two[1] / "run" / name).write_bytes(data)
    (line,) = tool("same_results").compare(*two)
    assert line.startswith(f"run/{name}: ")


def test_arrays_are_compared_with_their_type(two):
    np.savez(two[1] / "run" / "predictions-0001.npz", labels=np.arange(3, dtype=np.int32))
    assert "predictions-0001.npz" in next(tool("same_results").compare(*two))


def test_a_folder_with_files_is_not_used(tmp_path, capsys):
    (tmp_path / "before").mkdir()
    with pytest.raises(SystemExit, match="2"):
        tool("same_results").main(["HEAD", "--keep", str(tmp_path)])
    assert f"--keep {tmp_path}: is not empty" in capsys.readouterr().err


# --- mutants.py -----------------------------------------------------------------------------------

SOURCE = '''"""Docstring."""
FEW: int = 3


@decorated(frozen=True)
def f(x: "a + b", y=-1):
    """Docstring."""
    if x < y and not x:
        raise ValueError(f"{x + 1} is wrong")
    file.flush()
    return x + y[1:]
'''


def test_faults_are_changes_of_what_is_computed():
    mutants = tool("mutants")
    planted = list(mutants.faults("m", SOURCE))
    changes = [one.change.partition(" (column")[0].split("  ->  ") for one in planted]
    assert [(one.line, change) for one, change in zip(planted, changes)] == [
        (2, ["3", "4"]),
        (8, ["x < y", "x <= y"]),
        (8, ["not x", "x"]),
        (8, ["x < y and (not x)", "x < y or not x"]),
        (10, ["file.flush()", "pass"]),
        (11, ["1", "2"]),
        (11, ["x + y[1:]", "x - y[1:]"]),
    ]
    assert [one.line for one in mutants.faults("m", SOURCE, most=2)] == [2, 8]
    assert len({mutants.ast.dump(one.tree) for one in planted}) == 7


def test_every_module_with_faults_and_its_tests_exist():
    mutants = tool("mutants")
    count = 0
    for module, tests in mutants.TESTS.items():
        source = (mutants.PACKAGE / f"{module}.py").read_text()
        count += min(10, len(mutants.changes_of(source)))
        assert all((ROOT / "tests" / test).is_file() for test in tests)
    assert count >= 100
    # What is said to change nothing is still in the modules.
    known = set()
    for module in {module for module, *_ in mutants.EQUIVALENT}:
        source = (mutants.PACKAGE / f"{module}.py").read_text()
        lines = source.splitlines()
        known |= {(module, lines[n - 1].strip(), words) for n, words in mutants.changes_of(source)}
    assert mutants.EQUIVALENT.keys() <= known


@pytest.mark.slow
def test_a_fault_that_a_test_notices_and_one_that_none_does(tmp_path):
    mutants = tool("mutants")
    _, alive = mutants.survivors("data/mixup", 10)
    assert not alive
    mutants.TESTS["data/mixup"] = ["data/test_order.py"]
    planted, alive = mutants.survivors("data/mixup", 10)
    assert len(alive) == planted
