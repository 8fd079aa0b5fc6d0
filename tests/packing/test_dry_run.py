import cv2
import numpy as np
import pytest

from imagenet_trainer.data.records.manifest import read_manifest
from imagenet_trainer.packing.console import format_shards
from imagenet_trainer.packing.im2rec import main


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two classes of 11 images, one of them damaged; 1.2 MB as JPEG."""
    folder = tmp_path_factory.mktemp("pics")
    random = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (folder / name).mkdir()
        for number in range(11):
            pixels = random.integers(0, 256, (200, 300, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / name / f"{number}.jpg"), pixels)
    (folder / "bee" / "7.jpg").write_bytes(b"")
    return folder


@pytest.fixture
def folder(images, tmp_path, monkeypatch):
    (tmp_path / "pics").symlink_to(images)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("layout", [[], ["--shards", "3"], ["--shard-size", "1M"]])
def test_a_dry_run_reports_what_packing_then_does(folder, capsys, layout):
    assert main(["--list", "--recursive", "--dry-run", "data/x", "pics"]) == 0
    assert "class 1: bee, 11 images\ndata/x.lst: 22 images\n" in capsys.readouterr().out
    assert not (folder / "data").exists()
    assert main(["--list", "--recursive", "data/x", "pics"]) == 0
    capsys.readouterr()
    words = ["data/x", "pics", *layout]
    assert main([*words, "--dry-run"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [path.name for path in (folder / "data").iterdir()] == ["x.lst"]
    assert main(words) == 1
    manifest = read_manifest("data/x.rec")
    size = sum(shard.bytes for shard in manifest.shards) / 1e6
    shards = format_shards(len(manifest.shards))
    assert lines == [
        f"data/x.rec: would contain 21 images in {shards}, {size:,.1f} MB",
        "rejected: bee/7.jpg: the file is empty",
        "data/x.rec: 1 of 22 images rejected",
    ]
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 1
    assert capsys.readouterr().out.splitlines()[0].endswith("up to date")


def test_a_dry_run_reports_too_many_rejected_images(folder, capsys):
    assert main(["--list", "--recursive", "data/x", "pics"]) == 0
    assert main(["data/x", "pics", "--dry-run", "--max-rejected", "0"]) == 1
    assert "would stop: --max-rejected allows 0" in capsys.readouterr().out
    words = ["data/x", "pics", "--shards", "22"]  # one of them would be empty
    assert main([*words, "--dry-run"]) == 1
    assert "in 22 shards" in (output := capsys.readouterr().out)
    assert "would stop: every image of a shard is rejected" in output
    assert main(words) == 2
