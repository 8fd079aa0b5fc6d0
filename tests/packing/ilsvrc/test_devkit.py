import io
import tarfile

import pytest
from conftest import message_of
from helpers import miniature

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.packing.ilsvrc import devkit
from imagenet_trainer.packing.ilsvrc.devkit import check_numbering, read_blacklist, read_labels

TRUTH = {
    f"ILSVRC2012_val_{number:08d}": wnid
    for number, (_, wnid) in enumerate(miniature.val_truth(), 1)
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    miniature.write_files(".", miniature.devkit_files())
    return tmp_path / "ILSVRC2012_devkit_t12" / "data"


# --- reading -----------------------------------------------------------------------------------


def test_the_devkit_in_every_form(here, tmp_path):
    (tmp_path / "devkit.tar.gz").write_bytes(miniature.tar_of(miniature.devkit_files(), "w:gz"))
    (tmp_path / "devkit.tar").write_bytes(miniature.tar_of(miniature.devkit_files()))
    truth = here / "ILSVRC2012_validation_ground_truth.txt"
    for path in ("ILSVRC2012_devkit_t12", here, truth, "devkit.tar.gz", "devkit.tar"):
        assert read_labels(str(path)) == TRUTH
    truth.rename(here / "truth.txt")
    assert read_labels(str(here / "truth.txt")) == TRUTH


def test_numbers_go_through_meta_mat_and_not_through_the_sorted_order(here):
    """Exchange two numbers in meta.mat: the labels of images 11 to 20 follow it."""
    exchanged = dict(miniature.FIRST)
    exchanged[490], exchanged[361] = exchanged[361], exchanged[490]
    (here / "meta.mat").write_bytes(miniature.meta_mat(exchanged.items()))
    # The class of image 1 is known, which detects this; other labels follow meta.mat.
    assert "ILSVRC2012_val_00000001 has class n09193705, but shows n01751748" in message_of(
        read_labels, str(here)
    )
    order = list(known_synsets())
    sorted_ids = {number: order[number - 1] for number, _ in miniature.FIRST}
    (here / "meta.mat").write_bytes(miniature.meta_mat(sorted_ids.items()))
    assert "the devkit's number 490" in message_of(read_labels, str(here))


def test_kaggles_csv(tmp_path):
    miniature.write_kaggle(tmp_path)
    assert read_labels(str(tmp_path / "LOC_val_solution.csv")) == TRUTH


def test_blacklist(tmp_path):
    path = tmp_path / "blacklist.txt"
    path.write_text("36\n 50000 \r\n50\n\n")
    assert read_blacklist(str(path)) == {
        "ILSVRC2012_val_00000036", "ILSVRC2012_val_00050000", "ILSVRC2012_val_00000050",
    }  # fmt: skip


# --- the classic error -------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0, 1])
def test_devkit_numbers_used_as_sorted_indices(shift):
    order = list(known_synsets())
    wrong = {
        devkit.validation_name(number): order[devkit_number - 1 + shift]
        for number, (devkit_number, _) in enumerate(miniature.FIRST, 1)
    }
    message = message_of(lambda: check_numbering("val", wrong))
    assert message.startswith("val: ILSVRC2012_val_00000001 has class ")
    assert "shows n01751748 sea snake: the devkit's number 490" in message


def test_other_wrong_labels_and_other_images():
    check_numbering("val", TRUTH)
    check_numbering("val", {"cat.1": "n01751748", "ILSVRC2012_val_00000011": "n01440764"})
    wrong = dict(TRUTH, ILSVRC2012_val_00000010="n01440764")
    assert "val: ILSVRC2012_val_00000010 " in message_of(lambda: check_numbering("val", wrong))


# --- errors ------------------------------------------------------------------------------------


def test_missing_files(here, tmp_path):
    assert "No such file" in message_of(read_labels, "gone.csv")
    assert "No such file" in message_of(read_labels, "gone.tar.gz")
    (tmp_path / "empty").mkdir()
    assert "empty: " in message_of(read_labels, "empty")
    (here / "meta.mat").unlink()
    (here / "ILSVRC2012_validation_ground_truth.txt").rename(here / "truth.txt")
    assert "ILSVRC2012_validation_ground_truth.txt" in message_of(read_labels, str(here))
    message = message_of(read_labels, str(here / "truth.txt"))
    assert message.startswith(f"{here}/truth.txt: ") and "meta.mat" in message


def test_damaged_devkits(here, tmp_path):
    archive = miniature.tar_of(miniature.devkit_files(), "w:gz")
    for length in (0, 100, len(archive) // 2):
        (tmp_path / "cut.tar.gz").write_bytes(archive[:length])
        assert "cut.tar.gz: " in message_of(read_labels, "cut.tar.gz")
    meta = (here / "meta.mat").read_bytes()
    damaged = [b"", b"text", meta[:200], meta[:-20], b"MATLAB 7.3 MAT-file".ljust(512, b"\0")]
    for data in damaged:
        (here / "meta.mat").write_bytes(data)
        assert "meta.mat: " in message_of(read_labels, str(here))


def test_a_table_of_other_things(here):
    from scipy.io import savemat

    for table in ({"ILSVRC2012_ID": 1.0, "WNID": "cat"}, {"WNID": "n01440764"}, {"a": 1.0}):
        buffer = io.BytesIO()
        savemat(buffer, {"synsets": table})
        (here / "meta.mat").write_bytes(buffer.getvalue())
        assert "meta.mat: " in message_of(read_labels, str(here))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("490\n0\n", "line 2: '0' "),
        ("490\n\n361\n", "line 2: '' "),
        ("490\nILSVRC2012_val_00000002.JPEG 361\n", "line 2: 'ILSVRC2012_val_00000002.JPEG 361' "),
        ("490\n491\n", "line 2: 491 "),
        ("", "line 1: '' "),
    ],
)
def test_invalid_ground_truths(here, text, reason):
    (here / "ILSVRC2012_validation_ground_truth.txt").write_text(text)
    assert reason in message_of(read_labels, str(here))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "empty"),
        ("ImageId,PredictionString\n", "empty"),
        ("a,n01440764 1 2 3 4 n01443537 1 2 3 4\n", "line 1: "),
        ("ImageId,PredictionString\na,65\n", "line 2: "),
        ("a,n01440764\na,n01440764\n", "line 2: "),
        ("a\n", "line 1: "),
        ('a,"' + 200_000 * "n", "labels.csv: "),
    ],
)
def test_invalid_csv_files(tmp_path, text, reason):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    assert reason in message_of(read_labels, str(path))


def test_an_invalid_blacklist(tmp_path):
    path = tmp_path / "blacklist.txt"
    path.write_text("36\nn01440764\n")
    assert f"{path}: line 2: 'n01440764' " in message_of(read_blacklist, str(path))
    assert "No such file" in message_of(read_blacklist, str(tmp_path / "gone"))


def test_a_devkit_tar_is_not_unpacked(here, tmp_path):
    """Names that lead out of the tar are harmless: only the two files are read, in memory."""
    files = {f"../../{name}": data for name, data in miniature.devkit_files().items()}
    path = tmp_path / "in" / "devkit.tar.gz"
    path.parent.mkdir()
    path.write_bytes(miniature.tar_of(files, "w:gz"))
    before = sorted(tmp_path.rglob("*"))
    assert read_labels(str(path)) == TRUTH
    assert sorted(tmp_path.rglob("*")) == before
    assert tarfile.is_tarfile(path)
