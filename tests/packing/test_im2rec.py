import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import jpegs

from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import read_manifest
from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.packing.im2rec import main
from imagenet_trainer.packing.im2rec_pack import max_rejected


def draw(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with 3 classes of 4 images in pics/train and 2 in pics/val."""
    for split, count in (("train", 4), ("val", 2)):
        for name in ("ant", "bee", "cat"):
            for number in range(count):
                draw(tmp_path / "pics" / split / name / f"{number}.jpg", number)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_train():
    assert main(["--list", "--recursive", "data/train", "pics/train"]) == 0
    assert main(["data/train", "pics/train"]) == 0


# --- what it does ------------------------------------------------------------------------------


def test_from_images_to_a_pack(folder, capsys):
    make_train()
    output = capsys.readouterr().out
    assert "class 1: bee, 4 images\n" in output
    assert "data/train.lst: 12 images\n" in output
    assert "data/train.rec: 12 images of 3 classes, " in output
    assert len(RecordFile("data/train.rec")) == 12
    before = Path("data/train.rec").stat()
    assert main(["data/train", "pics/train", "--num-thread", "1"]) == 0
    assert "data/train.rec: up to date" in capsys.readouterr().out
    assert Path("data/train.rec").stat() == before
    assert main(["data/train", "pics/train", "--quality", "50"]) == 0
    assert Path("data/train.rec").stat().st_size < before.st_size


def test_exactly_the_named_list_is_packed(folder):
    words = ["--list", "--recursive", "--train-ratio", ".5", "data/train", "pics/train"]
    assert main(words) == 0
    make_train()
    assert sorted(path.name for path in folder.glob("data/*")) == [
        "train.idx", "train.json", "train.lst", "train.rec", "train_train.lst", "train_val.lst",
    ]  # fmt: skip


def test_chunks(folder, fails):
    words = ["--chunks", "2", "data/train", "pics/train"]
    assert "--list --recursive --chunks 2 data/train pics/train" in fails(*words)
    assert main(["--list", "--recursive", *words]) == 0
    assert "give --chunks 2" in fails("data/train", "pics/train")
    assert main(words) == 0
    for number in range(2):
        manifest = read_manifest(f"data/train_{number}.rec")
        assert (manifest.records, manifest.num_classes) == (6, 3)
    assert not Path("data/train.rec").exists()


def test_extensions_as_separate_words(folder, capsys):
    draw(folder / "pics/train/ant/9.png")
    words = ["--list", "--recursive", "data/x", "pics/train"]
    assert main([*words, "--exts", ".png", ".JPG"]) == 0
    assert "data/x.lst: 13 images" in capsys.readouterr().out
    assert main(["--exts", ".png", *words]) == 0
    assert "data/x.lst: 1 image\n" in capsys.readouterr().out


# --- damaged images --------------------------------------------------------------------------


def test_exit_codes_of_damaged_images(folder, capsys, fails):
    Path("pics/train/bee/1.jpg").write_bytes(b"")
    assert main(["--list", "--recursive", "data/train", "pics/train"]) == 0
    for _ in range(2):  # packing, and finding it up to date
        assert main(["data/train", "pics/train"]) == 1
        *_, rejected, total = capsys.readouterr().out.splitlines()
        assert rejected == "rejected: bee/1.jpg: the file is empty"
        assert "data/train.rec: 1 of 12 images" in total and "data/train.json" in total
    assert read_manifest("data/train.rec").counts == (4, 3, 4)
    Path("data/train.json").unlink()
    message = fails("data/train", "pics/train", "--max-rejected", "0")
    assert "bee/1.jpg: the file is empty" in message and "--max-rejected 0" in message
    assert main(["data/train", "pics/train", "--max-rejected", "50%"]) == 1


@pytest.mark.parametrize(
    "allowed, total, most",
    [
        ("0", 9, 0),
        ("7", 9, 7),
        ("0.1%", 9, 1),
        ("0.1%", 5000, 5),
        ("29%", 100, 29),
        ("0%", 9, 0),
        ("100%", 9, 9),
    ],
)
def test_max_rejected(allowed, total, most):
    assert max_rejected(allowed, total) == most


# --- classes -----------------------------------------------------------------------------------


def test_validation_has_the_classes_of_training(folder, fails):
    make_train()
    words = ["data/val", "pics/val"]
    assert main(["--list", "--recursive", *words]) == 0
    assert main(words) == 0
    assert read_manifest("data/val.rec").classes == read_manifest("data/train.rec").classes
    Path("pics/val/bee").rename("pics/val/bug")
    assert main(["--list", "--recursive", *words]) == 0
    message = fails(*words)
    assert message.startswith("data/val.lst: class 1 is bug, but bee in data/train.json; ")
    assert main([*words, "--classes-from", "none"]) == 0
    assert [one.id for one in read_manifest("data/val.rec").classes] == ["ant", "bug", "cat"]
    message = fails(*words, "--classes-from", "data/gone.json")
    assert message.startswith("--classes-from data/gone.json: ") and "manifest" in message


def test_labels_of_a_reference_are_matched_by_the_folders(folder, fails):
    make_train()
    shutil.rmtree("pics/val/bee")
    words = ["data/val", "pics/val"]
    assert main(["--list", "--recursive", *words]) == 0
    assert "--classes-from data/train.json" in fails(*words)  # label 1 would be bee
    words += ["--classes-from", "data/train.json", "--encoding", ".png"]
    assert main(words) == 0
    manifest = read_manifest("data/val.rec")
    assert manifest.classes == read_manifest("data/train.rec").classes
    assert [count > 0 for count in manifest.counts] == [True, False, True]
    images = read_list("data/val.lst")
    classes = [one.id for one in manifest.classes]
    file = RecordFile("data/val.rec")
    for number, path in enumerate(images.paths):
        assert classes[int(file.record(number).label)] == Path(path).parent.name
    file.close()
    # The same command finds it finished, and a damaged shard gets the same labels again.
    before = Path("data/val.rec").read_bytes()
    assert main(words) == 0
    Path("data/val.rec").write_bytes(before[:-8] + bytes(8))
    assert main(["--repair", "data/val"]) == 0
    assert Path("data/val.rec").read_bytes() == before
    # Other references have other labels.
    Path("names.txt").write_text("cat\ndog\nant\n")
    words[3] = "names.txt"
    assert main(words) == 0
    assert read_manifest("data/val.rec").counts == (manifest.counts[2], 0, manifest.counts[0])
    Path("names.txt").write_text("cat\ndog\n")
    assert "ant" in fails(*words)


def test_a_validation_split_is_compared_with_its_training_split(folder):
    words = ["--list", "--recursive", "--train-ratio", ".8", "--no-shuffle", "data/all"]
    assert main([*words, "pics/train"]) == 0
    assert main(["data/all_train", "pics/train"]) == 0
    assert main(["data/all_val", "pics/train"]) == 0
    manifest = read_manifest("data/all_val.rec")
    assert manifest.classes == read_manifest("data/all_train.rec").classes
    assert manifest.counts == (0, 0, 3)


# --- bad input ---------------------------------------------------------------------------------


def test_missing_lists(folder, fails):
    message = fails("data/train", "pics/train")
    assert message.startswith("data/train.lst: ") and "tools/im2rec.py --list" in message
    message = fails("data/train.lst", "pics/train")
    assert message.startswith("prefix data/train.lst: ") and message.endswith("give data/train")
    assert fails("pics", "pics/train").startswith("prefix pics: ")
    words = ["--list", "--recursive", "--train-ratio", ".5", "data/all", "pics/train"]
    assert main(words) == 0
    assert "give the prefix data/all_train" in fails("data/all", "pics/train")


def test_unusable_roots(folder, fails):
    make_train()
    assert "root nowhere: " in fails("data/train", "nowhere")
    assert "root nowhere: " in fails("data/without-a-list", "nowhere")
    assert "root nowhere: " in fails("--list", "--recursive", "data/x", "nowhere")
    (folder / "empty").mkdir()
    assert "root empty: " in fails("--list", "--recursive", "data/x", "empty")
    assert "give --recursive" in fails("--list", "data/x", "pics/train")
    assert "--flat" in fails("--list", "data/x", "pics/train/ant")
    assert "--flat --recursive: " in fails(
        "--list", "--flat", "--recursive", "data/x", "pics/train"
    )


def test_lists_that_do_not_match_the_folder(folder, fails):
    make_train()
    Path("data/train.rec").unlink()
    with open("data/train.lst", "a") as file:
        file.write("12\t0\tant/9.jpg\n")
    assert fails("data/train", "pics/train").startswith(
        "data/train.lst: ant/9.jpg is not in pics/train; "
    )
    with open("data/train.lst", "a") as file:
        file.write("13\tant\tant/1.jpg\n")
    assert fails("data/train", "pics/train").startswith("data/train.lst: line 14: label 'ant' ")
    assert not list(folder.glob("data/*.partial"))


def test_flags_that_contradict(folder, fails):
    make_train()
    words = ("data/train", "pics/train", "--pass-through")
    assert "--pass-through --resize 8: " in fails(*words, "--resize", "8")
    assert "--pass-through --center-crop: " in fails(*words, "--center-crop")
    words = ("--train-ratio", "0.8", "--test-ratio", "0.3", "data/x", "pics/train")
    assert "--train-ratio 0.8 --test-ratio 0.3: " in fails("--list", "--recursive", *words)


def test_more_chunks_than_images_fill(folder, fails):
    words = ("--list", "--recursive", "--chunks", "11", "data/x", "pics/train")
    assert fails(*words).startswith("--chunks 11: ") and fails(*words).endswith("give 6")
    assert not list(folder.glob("data/*.lst"))


@pytest.mark.parametrize(
    "words, start",
    [
        (["--quality", "101"], "--quality: '101': "),
        (["--exts", "jpg"], "--exts: 'jpg': "),
        (["--max-rejected", "200%"], "--max-rejected: '200%': "),
        (["--encoding", ".gif"], "--encoding: "),
    ],
)
def test_wrong_values_of_flags(words, start, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*words, "data/train", "pics/train"])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and start in error and error.count("\n") == 1


def test_a_folder_that_cannot_be_made(folder, fails):
    (folder / "data").write_text("a file")
    assert fails("--list", "--recursive", "data/train", "pics/train").startswith("data: ")


# --- stopping and checking ---------------------------------------------------------------------


# Packing that waits after ten images, until a signal ends it.
WAITING = """
    import sys, time
    from imagenet_trainer.packing import im2rec
    from imagenet_trainer.packing.console import ProgressDisplay

    def wait_after_ten(self, done, total, rejected):
        if done == 10:
            print("ten", flush=True)
            # Many short calls: a signal just before a single long one would not end it.
            while True:
                time.sleep(0.01)

    ProgressDisplay.__call__ = wait_after_ten
    sys.exit(im2rec.main())
"""


def test_a_stopped_pack_resumes(folder, capsys):
    names = ("ant", "bee", "cat")
    lines = [f"{n}\t{n % 3}\t{names[n % 3]}/{n % 4}.jpg\n" for n in range(30)]
    (folder / "data").mkdir()
    Path("data/train.lst").write_text("".join(lines))
    words = ["data/train", "pics/train", "--resize", "30"]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WAITING), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ten\n"
    process.send_signal(signal.SIGTERM)  # Ctrl-C raises KeyboardInterrupt without our help
    _, error = process.communicate()
    assert process.returncode == 130
    assert error.startswith("im2rec: interrupted") and error.count("\n") == 1
    assert main(words) == 0
    assert "resumes after image 10 of 30" in capsys.readouterr().out
    assert RecordFile("data/train.rec").keys.tolist() == list(range(30))


def test_labels_of_a_reference_are_repaired_where_classes_txt_names_the_classes(folder):
    Path("data").mkdir()
    Path("data/val.lst").write_text("0\t0\t0.jpg\n1\t1\t1.jpg\n")
    Path("data/classes.txt").write_text("ant\nbee\n")
    Path("reference.txt").write_text("bee\nant\n")
    assert main(["data/val", "pics/train/ant", "--classes-from", "reference.txt"]) == 0
    with RecordFile("data/val.rec") as shard:
        assert [shard.record(n).label for n in range(2)] == [1, 0]
    before = Path("data/val.rec").read_bytes()
    Path("data/val.rec").write_bytes(before[:90] + b"damaged" + before[97:])
    assert main(["--repair", "data/val"]) == 0
    assert Path("data/val.rec").read_bytes() == before


def test_rebuild_index(folder, capsys, fails):
    make_train()
    index = Path("data/train.idx")
    before = index.read_bytes()
    index.unlink()
    capsys.readouterr()
    assert main(["--rebuild-index", "data/train.rec"]) == 0
    assert "data/train.idx: 12 records" in capsys.readouterr().out
    assert index.read_bytes() == before
    assert "data/x.rec: " in fails("--rebuild-index", "data/x.rec")
    Path("data/x.rec").touch()
    assert fails("--rebuild-index", "data/x.rec").startswith("data/x.rec: ")


# --- what is left out, and what is damaged -----------------------------------------------------


def test_images_left_out_by_their_extension(folder, capsys, fails):
    for path in Path("pics/train/bee").iterdir():
        path.rename(path.with_suffix(".jfif"))
    Path("pics/train/cat/0.jpg").rename("pics/train/cat/0.webp")
    words = ["--list", "--recursive", "data/train", "pics/train"]
    assert main(words) == 1
    output = capsys.readouterr().out
    assert "5 images with other extensions (.jfif 4, .webp 1)" in output
    assert "bee is no class" in output and "cat is no class" not in output
    assert "--val-ratio 0.3: is for --by-name" in fails(*words, "--val-ratio", ".3")
    (flag,) = [word for word in output.split() if word.startswith(".jpeg,")]
    assert main([*words, "--exts", flag]) == 0
    output = capsys.readouterr().out
    assert "data/train.lst: 12 images" in output and "left out" not in output
    # With extensions of one's own, that is what was asked for.
    assert main([*words, "--exts", ".jpg"]) == 0
    assert "left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["--list=1", "--recursive=true"], ["--list", "True", "--recursive", "1"]]
)
def test_switches_with_the_values_of_older_tools(folder, words):
    assert main([*words, "--no-shuffle=0", "data/x", "pics/train"]) == 0
    assert main(["--list", "--recursive", "data/y", "pics/train"]) == 0
    assert Path("data/x.lst").read_bytes() == Path("data/y.lst").read_bytes()
    assert main(["--list=0", "data/x", "pics/train"]) == 0
    assert Path("data/x.rec").exists()


def test_only_the_first_label_of_a_line_makes_the_classes(folder):
    make_train()
    before = Path("data/train.rec").read_bytes()
    lines = [line.split("\t") for line in Path("data/train.lst").read_text().splitlines()]
    text = "".join(f"{index}\t{label}\t0.5\t7\t{path}\n" for index, label, path in lines)
    Path("data/train.lst").write_text("\ufeff" + text, encoding="utf-8")
    assert main(["data/train", "pics/train"]) == 0
    assert Path("data/train.rec").read_bytes() == before
    assert [one.id for one in read_manifest("data/train.rec").classes] == ["ant", "bee", "cat"]
    with open("data/train.rec", "r+b") as file:
        file.seek(100)
        file.write(b"xxxx")
    assert main(["--repair", "data/train"]) == 0
    assert Path("data/train.rec").read_bytes() == before
    assert main(["data/train", "pics/train", "--pack-label"]) == 0
    assert read_manifest("data/train.rec").classes == ()


def jpeg(path, damage, progressive=False):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    words = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    path.write_bytes(damage(cv2.imencode(".jpg", pixels, words)[1].tobytes()))


@pytest.mark.parametrize("flags", [[], ["--pass-through"], ["--dry-run"]])
def test_damage_that_a_decoder_repairs_silently(folder, capfd, flags):
    ants = Path("pics/train/ant")
    jpeg(ants / "cut.jpg", lambda data: data[: len(data) // 2])
    jpeg(ants / "lost.jpg", lambda data: data[: len(data) // 3] + data[-2:])
    jpeg(ants / "huge.jpg", lambda data: jpegs.declaring(data, 13000, 13000))
    jpeg(ants / "extra.jpg", lambda data: data[:-2] + bytes(30) + data[-2:], progressive=True)
    assert main(["--list", "--recursive", "data/train", "pics/train"]) == 0
    capfd.readouterr()
    assert main(["data/train", "pics/train", "--max-rejected", "9", *flags]) == 1
    output, error = capfd.readouterr()
    assert error == ""
    assert output.count("rejected: ant/") == 3 and "3 of 16 images rejected" in output
    for name, reason in (("cut", "end marker"), ("lost", "are missing"), ("huge", "13000 x 13000")):
        assert any(f"ant/{name}.jpg" in line and reason in line for line in output.splitlines())
    assert "ant/extra.jpg: Corrupt JPEG data" in output


def test_the_manifest_of_another_pack_is_refused(folder, fails):
    make_train()
    assert main(["--list", "--recursive", "data/val", "pics/val"]) == 0
    assert main(["data/val", "pics/val"]) == 0
    Path("data/val.json").write_bytes(Path("data/train.json").read_bytes())
    assert "another pack, which has train.rec" in fails("--verify", "data/val")
    assert "another pack" in fails("--verify", "data/val.rec")
