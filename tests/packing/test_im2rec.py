import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, one_line_failure

from imagenet_trainer.data.records.manifest import read_manifest
from imagenet_trainer.data.records.recordio import RecordFile
from imagenet_trainer.packing import im2rec
from imagenet_trainer.packing.im2rec import main

TOOL = ROOT / "tools" / "im2rec.py"


def draw(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder with 3 classes of 4 images in pics/train and 2 in pics/val."""
    for split, count in (("train", 4), ("val", 2)):
        for name in ("ant", "bee", "cat"):
            for number in range(count):
                draw(tmp_path / "pics" / split / name / f"{number}.jpg", number)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fails(capsys):
    return one_line_failure(main, "im2rec", capsys)


def make_train():
    assert main(["--list", "--recursive", "data/train", "pics/train"]) == 0
    assert main(["data/train", "pics/train"]) == 0


# --- what it does ------------------------------------------------------------------------------


def test_from_images_to_a_pack(there, capsys):
    make_train()
    told = capsys.readouterr().out
    assert "class 1: bee, 4 images\n" in told
    assert "data/train.lst: 12 images\n" in told
    assert "data/train.rec: 12 images of 3 classes, " in told
    assert len(RecordFile("data/train.rec")) == 12
    before = Path("data/train.rec").stat()
    assert main(["data/train", "pics/train", "--num-thread", "1"]) == 0
    assert capsys.readouterr().out == "data/train.rec: up to date, 12 images\n"
    assert Path("data/train.rec").stat() == before
    assert main(["data/train", "pics/train", "--quality", "50"]) == 0
    assert Path("data/train.rec").stat().st_size < before.st_size


def test_the_thin_file_runs_from_anywhere(there):
    command = [sys.executable, TOOL, "--list", "--recursive", "x/train", "pics/train"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.endswith(
        "x/train.lst: 12 images\n"
    )


def test_help_loads_nothing_heavy():
    script = (
        "import sys, imagenet_trainer.packing.im2rec as tool\n"
        "try: tool.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'numpy', 'cv2', 'mxnet', 'tqdm'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--classes-from" in run.stdout and run.stdout.endswith("set()\n")


def test_exactly_the_named_list_is_packed(there):
    words = ["--list", "--recursive", "--train-ratio", ".5", "data/train", "pics/train"]
    assert main(words) == 0
    make_train()
    assert sorted(path.name for path in there.glob("data/*")) == [
        "train.idx", "train.json", "train.lst", "train.rec", "train_train.lst", "train_val.lst",
    ]  # fmt: skip


def test_chunks(there, fails):
    words = ["--chunks", "2", "data/train", "pics/train"]
    assert "--list --recursive --chunks 2 data/train pics/train" in fails(*words)
    assert main(["--list", "--recursive", *words]) == 0
    assert "data/train_0.lst: give --chunks 2 to pack" in fails("data/train", "pics/train")
    assert main(words) == 0
    for number in range(2):
        manifest = read_manifest(f"data/train_{number}.rec")
        assert (manifest.records, manifest.num_classes) == (6, 3)
    assert not Path("data/train.rec").exists()


def test_endings_as_words(there, capsys):
    draw(there / "pics/train/ant/9.png")
    words = ["--list", "--recursive", "data/x", "pics/train"]
    assert main([*words, "--exts", ".png", ".JPG"]) == 0
    assert "data/x.lst: 13 images" in capsys.readouterr().out
    assert main(["--exts", ".png", *words]) == 0
    assert "data/x.lst: 1 image\n" in capsys.readouterr().out


def test_a_flat_folder_that_is_meant(there):
    assert main(["--list", "--flat", "data/ants", "pics/train/ant"]) == 0
    assert main(["data/ants", "pics/train/ant"]) == 0
    assert read_manifest("data/ants.rec").counts == (4,)


# --- damaged images --------------------------------------------------------------------------


def test_exit_codes_of_damaged_images(there, capsys, fails):
    Path("pics/train/bee/1.jpg").write_bytes(b"")
    assert main(["--list", "--recursive", "data/train", "pics/train"]) == 0
    for _ in range(2):  # packing, and finding it up to date
        assert main(["data/train", "pics/train"]) == 1
        told = capsys.readouterr().out.splitlines()
        assert told[-2] == "rejected: bee/1.jpg: the file is empty"
        assert told[-1] == "data/train.rec: 1 of 12 images rejected; data/train.json lists them"
    assert read_manifest("data/train.rec").counts == (4, 3, 4)
    Path("data/train.json").unlink()
    told = fails("data/train", "pics/train", "--max-rejected", "0")
    assert "bee/1.jpg: the file is empty" in told and "--max-rejected allows 0" in told
    assert main(["data/train", "pics/train", "--max-rejected", "50%"]) == 1


@pytest.mark.parametrize(
    "allowed, total, most",
    [("0", 9, 0), ("7", 9, 7), ("0.1%", 9, 1), ("0.1%", 5000, 5), ("0%", 9, 0), ("100%", 9, 9)],
)
def test_how_many_may_be_rejected(allowed, total, most):
    assert im2rec._most_rejected(allowed, total) == most


# --- classes -----------------------------------------------------------------------------------


def test_validation_has_the_classes_of_training(there, fails):
    make_train()
    words = ["data/val", "pics/val"]
    assert main(["--list", "--recursive", *words]) == 0
    assert main(words) == 0
    assert read_manifest("data/val.rec").classes == read_manifest("data/train.rec").classes
    Path("pics/val/bee").rename("pics/val/bug")
    assert main(["--list", "--recursive", *words]) == 0
    told = fails(*words)
    assert told.startswith("data/val.lst: class 1 is bug, but bee in data/train.json; ")
    assert main([*words, "--classes-from", "none"]) == 0
    assert [one.id for one in read_manifest("data/val.rec").classes] == ["ant", "bug", "cat"]
    told = fails(*words, "--classes-from", "data/gone.json")
    assert told.startswith("--classes-from data/gone.json: no such manifest; ")


def test_a_split_is_compared_with_its_own_half(there):
    words = ["--list", "--recursive", "--train-ratio", ".8", "--no-shuffle", "data/all"]
    assert main([*words, "pics/train"]) == 0
    assert main(["data/all_train", "pics/train"]) == 0
    assert main(["data/all_val", "pics/train"]) == 0
    manifest = read_manifest("data/all_val.rec")
    assert manifest.classes == read_manifest("data/all_train.rec").classes
    assert manifest.counts == (0, 0, 3)


# --- bad input ---------------------------------------------------------------------------------


def test_lists_that_are_not_there(there, fails):
    told = fails("data/train", "pics/train")
    assert told.startswith("data/train.lst: no such list; run first: python tools/im2rec.py --list")
    assert "give it without .lst: data/train" in fails("data/train.lst", "pics/train")
    assert "prefix pics: a folder" in fails("pics", "pics/train")
    words = ["--list", "--recursive", "--train-ratio", ".5", "data/all", "pics/train"]
    assert main(words) == 0
    assert "give the prefix data/all_train to pack it" in fails("data/all", "pics/train")


def test_roots_that_are_not_there(there, fails):
    make_train()
    assert "root nowhere: no such folder" in fails("data/train", "nowhere")
    assert "root nowhere: no such folder" in fails("--list", "--recursive", "data/x", "nowhere")
    (there / "empty").mkdir()
    assert "root empty: no images in it" in fails("--list", "--recursive", "data/x", "empty")
    assert "give --recursive" in fails("--list", "data/x", "pics/train")
    assert "--flat" in fails("--list", "data/x", "pics/train/ant")
    assert "leave one away" in fails("--list", "--flat", "--recursive", "data/x", "pics/train")


def test_lists_that_do_not_fit(there, fails):
    make_train()
    Path("data/train.rec").unlink()
    with open("data/train.lst", "a") as file:
        file.write("12\t0\tant/9.jpg\n")
    assert fails("data/train", "pics/train").startswith(
        "data/train.lst: ant/9.jpg is not in pics/train; make the list anew"
    )
    with open("data/train.lst", "a") as file:
        file.write("13\tant\tant/1.jpg\n")
    assert fails("data/train", "pics/train") == (
        "data/train.lst: line 14: label 'ant' is not a number"
    )
    assert not list(there.glob("data/*.partial"))


def test_flags_that_contradict(there, fails):
    make_train()
    words = ("data/train", "pics/train", "--pass-through")
    assert "--pass-through packs files as they are" in fails(*words, "--resize", "8")
    assert "--center-crop" in fails(*words, "--center-crop")


@pytest.mark.parametrize(
    "words, reason",
    [
        (["--resise", "8"], "--resise: no such flag; did you mean --resize?"),
        (["--quality", "101"], "--quality: '101': must be from 1 to 100"),
        (["--exts", "jpg"], "--exts: 'jpg': must be endings such as .jpg .png"),
        (["--max-rejected", "200%"], "--max-rejected: '200%': must be from 0 to 100"),
        (["--encoding", ".gif"], "--encoding: invalid choice"),
    ],
)
def test_flags_that_are_wrong(words, reason, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*words, "data/train", "pics/train"])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and reason in error and error.count("\n") == 1


def test_a_folder_that_cannot_be_made(there, fails):
    (there / "data").write_text("a file")
    assert fails("--list", "--recursive", "data/train", "pics/train").startswith(
        "data: File exists"
    )


# --- stopping and checking ---------------------------------------------------------------------


# Packing that waits after ten images, until a signal ends it.
WAITING = """
    import signal, sys, time
    from imagenet_trainer.packing import im2rec

    class Waiting(im2rec.Progress):
        def __call__(self, done, total, rejected):
            if done == 10:
                print("ten", flush=True)
                # Not in one call, which a signal that comes just before it would not end.
                while True:
                    time.sleep(0.01)

    im2rec.Progress = Waiting
    # Whatever started the tests may have it ignored, as a shell does with what follows an `&`.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(im2rec.main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_pack_goes_on(there, capsys, number):
    names = ("ant", "bee", "cat")
    lines = [f"{n}\t{n % 3}\t{names[n % 3]}/{n % 4}.jpg\n" for n in range(30)]
    (there / "data").mkdir()
    Path("data/train.lst").write_text("".join(lines))
    words = ["data/train", "pics/train", "--resize", "30"]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WAITING), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ten\n"
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == 130
    assert error == "im2rec: interrupted; run the same command again to continue\n"
    assert main(words) == 0
    assert "continues after image 10 of 30" in capsys.readouterr().out
    assert RecordFile("data/train.rec").keys.tolist() == list(range(30))


def test_verify(there, capsys):
    make_train()
    capsys.readouterr()
    for word in ("data/train", "data/train.rec"):
        assert main(["--verify", word]) == 0
        assert capsys.readouterr().out == "data/train.rec: whole\n"
    file = RecordFile("data/train.rec")
    with open("data/train.rec", "r+b") as raw:
        raw.seek(file.offsets[5])
        raw.write(b"\0")
    assert main(["data/train", "pics/train", "--verify"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[0].startswith(f"data/train.rec: record 5 at byte {file.offsets[5]}: ")
    assert error[1].startswith("im2rec: error: data/train.rec: not whole, see above (1 in all)")


def test_rebuild_index(there, capsys, fails):
    make_train()
    index = Path("data/train.idx")
    before = index.read_bytes()
    index.unlink()
    capsys.readouterr()
    assert main(["--rebuild-index", "data/train.rec"]) == 0
    assert capsys.readouterr().out == "data/train.idx: 12 records\n"
    assert index.read_bytes() == before
    assert "data/x.rec: no such shard" in fails("--rebuild-index", "data/x.rec")
    Path("data/x.rec").touch()
    assert "data/x.rec: the shard is empty" in fails("--rebuild-index", "data/x.rec")
