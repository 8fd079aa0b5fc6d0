import io
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from imagenet_trainer.data.images.tars import TarImages
from imagenet_trainer.errors import InputError


def tar_of(members, format=tarfile.GNU_FORMAT):
    """Bytes of a tar of (name, bytes), of (name, dict) as a tar inside, or of TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            name, data = member
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture
def tar_file(tmp_path):
    def write(data, name="a.tar"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def contents(path):
    with TarImages(path) as tar:
        return {name: tar.read(name) for name in tar.names()}


# --- names and bytes ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_of_tars(tar_file, form):
    fish = {"n01440764_1.JPEG": b"first" * 200, "n01440764_10.JPEG": b""}
    gold = {"n01443537_2.JPEG": b"x" * 512}
    path = tar_file(
        tar_of(
            [
                ("n01443537.tar", tar_of(gold.items(), form)),
                ("n01440764.tar", tar_of(fish.items(), form)),
                ("readme.txt", b"hello"),
                ("._n01440764.tar", b"of macOS"),
            ],
            form,
        )
    )
    expected = {f"n01440764/{name}": data for name, data in fish.items()}
    expected.update({f"n01443537/{name}": data for name, data in gold.items()})
    expected.update({"readme.txt": b"hello", "._n01440764.tar": b"of macOS"})
    files = contents(path)
    assert files == expected and list(files) == sorted(expected)
    with TarImages(path) as tar:
        assert "n01440764/n01440764_1.JPEG" in tar and "n01440764.tar" not in tar
        offset, size = tar.locate("n01443537/n01443537_2.JPEG")
    assert path.read_bytes()[offset : offset + size] == b"x" * 512


def test_tars_of_gnu_tar(tmp_path):
    """Long names, folders, leading ./ and a name that is not UTF-8."""
    random = np.random.default_rng(0)
    names = [
        "a/" + "long" * 40 + ".jpg",
        "b/with blank\tand tab.jpg",
        "c/d/e/\udcff.jpg",
        "top.jpg",
    ]
    tree = tmp_path / "tree"
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(random.bytes(int(random.integers(0, 5000))))
    for form in ("gnu", "pax"):
        path = tmp_path / f"{form}.tar"
        subprocess.run(
            ["tar", f"--format={form}", "-C", tree, "-cf", path, "."], check=True, text=True
        )
        assert contents(path) == {name: (tree / name).read_bytes() for name in names}


def test_threads_read_at_once(tar_file):
    random = np.random.default_rng(1)
    files = {f"{number:03d}.jpg": random.bytes(3000) for number in range(100)}
    with TarImages(tar_file(tar_of(files.items()))) as tar:
        names = list(files) * 20
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(tar.read, names)) == [files[name] for name in names]


def test_links(tar_file):
    path = tar_file(
        tar_of(
            [
                ("a/1.jpg", b"one"),
                special("a/hard.jpg", tarfile.LNKTYPE, "a/1.jpg"),
                special("b/soft.jpg", tarfile.SYMTYPE, "../a/hard.jpg"),
                special("b/chain.jpg", tarfile.SYMTYPE, "soft.jpg"),
                special("b/gone.jpg", tarfile.SYMTYPE, "/etc/passwd"),
                special("b/me.jpg", tarfile.SYMTYPE, "me.jpg"),
                special("b/pipe", tarfile.FIFOTYPE),
                special("b", tarfile.DIRTYPE),
            ]
        )
    )
    linked = ["a/1.jpg", "a/hard.jpg", "b/chain.jpg", "b/soft.jpg"]
    assert contents(path) == dict.fromkeys(linked, b"one")


def test_the_last_of_two_files_with_the_same_name(tar_file):
    path = tar_file(tar_of([("a.jpg", b"old"), ("b.jpg", b"b"), ("a.jpg", b"new")]))
    assert contents(path) == {"a.jpg": b"new", "b.jpg": b"b"}


def test_only_headers_are_read(tar_file, monkeypatch):
    from imagenet_trainer.data.images import tars

    path = tar_file(tar_of([("a.tar", tar_of([("1.jpg", bytes(1 << 20)), ("2.jpg", b"2")]))]))
    read = []
    original = tars._read
    monkeypatch.setattr(tars, "_read", lambda *args: read.append(args[2]) or original(*args))
    with TarImages(path) as tar:
        assert sum(read) < 20_000
        assert tar.read("a/2.jpg") == b"2"


# --- refusals ----------------------------------------------------------------------------------


def refusal_of(path):
    with pytest.raises(InputError) as caught:
        TarImages(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def test_files_that_are_not_tars(tar_file, tmp_path):
    assert "No such file" in refusal_of(tmp_path / "gone.tar")
    assert "not a tar" in refusal_of(tar_file(b"", "empty.tar"))
    assert "not a tar" in refusal_of(tar_file(b"\xff\xd8" * 1000, "a.jpg"))
    assert "Is a directory" in refusal_of(tmp_path)


def test_compressed_tars_inside_or_outside(tar_file):
    import bz2
    import gzip
    import lzma

    plain = tar_of([("a.jpg", b"a")])
    assert "gunzip it first" in refusal_of(tar_file(gzip.compress(plain), "a.tar.gz"))
    assert "unzip it first" in refusal_of(tar_file(b"PK\3\4" + bytes(600), "a.zip"))
    assert "bunzip2" in refusal_of(tar_file(bz2.compress(plain)))
    assert "unxz" in refusal_of(tar_file(lzma.compress(plain)))
    inside = refusal_of(tar_file(tar_of([("n1.tar", gzip.compress(plain))])))
    assert "n1.tar: " in inside and "gunzip" in inside


@pytest.mark.parametrize("nested", [False, True])
def test_a_truncated_tar_is_refused(tar_file, nested):
    whole = tar_of([(f"{number}.jpg", bytes([number]) * 700) for number in range(1, 5)])
    whole = whole.rstrip(b"\0") + bytes(-len(whole.rstrip(b"\0")) % 512)  # without its end mark
    for length in range(0, len(whole) + 1, 100):
        cut = whole[:length]
        assert "cut short" in refusal_of(tar_file(tar_of([("n.tar", cut)]) if nested else cut))
    if nested:
        outer = tar_of([("n1.tar", whole + bytes(1024)), ("n2.tar", whole + bytes(1024))])
        end = len(outer.rstrip(b"\0"))
        for length in range(512, end, 512):
            refusal_of(tar_file(outer[:length]))


def test_a_damaged_header_is_not_the_end(tar_file):
    data = bytearray(tar_of([(f"{number}.jpg", b"x" * 100) for number in range(4)]))
    data[2 * 1024 + 130] ^= 1
    assert "bad header" in refusal_of(tar_file(bytes(data)))


def test_names_that_lead_outside_the_folder(tar_file):
    assert "../evil.jpg " in refusal_of(tar_file(tar_of([("../evil.jpg", b"")])))
    assert list(contents(tar_file(tar_of([("/abs/a.jpg", b"")])))) == ["abs/a.jpg"]


def test_a_name_that_is_not_in_the_tar(tar_file):
    with TarImages(tar_file(tar_of([("a.jpg", b"")]))) as tar:
        for name in ("", "a", "a.jpg/", "b.jpg"):
            assert name not in tar
            with pytest.raises(ValueError, match=r"a\.tar; make the list again"):
                tar.read(name)


def test_a_tar_that_shrinks(tar_file):
    path = tar_file(tar_of([("a.jpg", b"x" * 5000)]))
    with TarImages(path) as tar:
        with open(path, "r+b") as file:
            file.truncate(3000)
        with pytest.raises(ValueError, match=r"a\.tar was truncated .*copy it again"):
            tar.read("a.jpg")
