"""Every file of Pillow's own test images: packed and then decoded, or listed as rejected."""

import random
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_mxnet

from imagenet_trainer.data import augment
from imagenet_trainer.data.images import jpeg_window
from imagenet_trainer.data.kinds import kind_of
from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.packing.conversion import Conversion
from imagenet_trainer.packing.plan import Pack
from imagenet_trainer.packing.restart_markers import with_markers
from imagenet_trainer.packing.verify import verify
from imagenet_trainer.packing.write import write_pack
from imagenet_trainer.system.mxnet_import import mx

PILLOW = "pillow==12.3.0"
FILES = 1056
PACKED = 690  # at least; which rare kinds can be decoded differs between versions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with the images, and the list of all of them."""
    folder = tmp_path_factory.mktemp("corpus")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:"]
    run = subprocess.run(
        [*command, "--no-deps", "--dest", str(folder), PILLOW],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    archives = list(folder.glob("*.tar.gz"))
    if not archives:
        pytest.skip(f"pip cannot fetch the source of {PILLOW}: {run.stderr.strip()[-200:]}")
    with tarfile.open(archives[0]) as tar:
        members = [one for one in tar if "/Tests/images/" in one.name and one.isfile()]
        tar.extractall(folder, members)
    root = next(folder.glob("*/Tests/images"))
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    (folder / "x.lst").write_text("".join(f"{n}\t0\t{name}\n" for n, name in enumerate(names)))
    return folder / "x", root, names


@needs_mxnet
@pytest.mark.parametrize(
    "conversion",
    [{"resize": 64}, {"pass_through": True}, {"color": -1, "encoding": ".png", "quality": 1}],
    ids=["resize", "pass-through", "as-stored"],
)
def test_every_file_is_packed_or_rejected(corpus, conversion):
    prefix, root, names = corpus
    assert len(names) == FILES
    pack = Pack(str(prefix), str(root), read_list(f"{prefix}.lst"), (), Conversion(**conversion))
    manifest = write_pack(pack, 2, len(names), lambda *_: None, lambda _: None)
    rejected = {one.path: one.reason for one in manifest.rejected}
    assert manifest.records + len(rejected) == len(names)
    assert all(rejected.values())
    assert verify([f"{prefix}.rec"], 2, lambda *_: None).damage == {}
    kinds = set()
    with RecordFile(f"{prefix}.rec") as shard:
        packed = {names[key] for key in shard.keys.tolist()}
        assert packed | set(rejected) == set(names) and not packed & set(rejected)
        for record in range(len(shard)):
            image = bytes(shard.record(record).image)
            ours = augment.decode(image)
            theirs = mx.image.imdecode(image).asnumpy()
            np.testing.assert_array_equal(ours, theirs)
            kinds.add(kind_of((root / names[shard.keys[record]]).read_bytes()))
    everything = {"JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000"}
    assert kinds == ({"JPEG", "PNG"} if "pass_through" in conversion else everything)
    assert manifest.records >= (PACKED if "pass_through" not in conversion else 470)


def test_known_results_for_single_files(corpus):
    prefix, root, _ = corpus
    pack = Pack(str(prefix), str(root), read_list(f"{prefix}.lst"), (), Conversion(resize=32))
    manifest = write_pack(pack, 2, FILES, lambda *_: None, lambda _: None)
    rejected = {Path(one.path).name: one.reason for one in manifest.rejected}
    assert rejected["decompression_bomb.gif"].startswith("65535 x 66601 pixels")
    assert rejected["truncated_jpeg.jpg"].startswith("cut short")
    assert rejected["broken_data_stream.png"] == "damaged or cut short"
    for name in ("pil_sample_cmyk.jpg", "12bit.cropped.tif", "dispose_bgnd.gif", "hopper.mpo",
                 "16_bit_binary.pgm", "hopper_orientation_6.jpg", "hopper.webp"):  # fmt: skip
        assert name not in rejected


@pytest.mark.skipif(not jpeg_window.enabled, reason="the decoder is not built")
def test_windows_of_every_jpeg(corpus):
    """Of the files, and of the files with restart markers."""
    _, root, names = corpus
    draw, decoded = random.Random(0), 0
    for name in names:
        file = (root / name).read_bytes()
        if kind_of(file) != "JPEG":
            continue
        try:
            whole = augment.decode(file, [], trusted=True)
        except ValueError:
            continue
        for data in {file, with_markers(file)}:
            size = jpeg_window.size(data)
            if size is None:
                continue
            (width, height), found = size, 0
            for to_end in 20 * (False, True):
                left, top = draw.randrange(width), draw.randrange(height)
                right, bottom = draw.randint(left + 1, width), draw.randint(top + 1, height)
                window = (left, top, right - left, bottom - top)
                image = jpeg_window.decode(data, size, window, to_end)
                if image is not None:
                    part = (slice(top, bottom), slice(left, right))
                    np.testing.assert_array_equal(image[part], whole[part], name)
                    found += 1
            decoded += found > 0
    assert decoded > 90
