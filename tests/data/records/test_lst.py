import pytest

from imagenet_trainer.data.records.lst import ImageList, read_list
from imagenet_trainer.errors import InputError


@pytest.mark.parametrize(
    "line, reason",
    [
        ("1 0 a.jpg", "tabs"),
        ("1\t0", "tabs"),
        ("x\t0\ta.jpg", "index 'x'"),
        ("1.5\t0\ta.jpg", "index '1.5'"),
        ("-1\t0\ta.jpg", "index -1 "),
        ("7\t0\ta.jpg", "index 7 "),
        ("1\tcat\ta.jpg", "label 'cat'"),
        ("1\t0\tnan\ta.jpg", "label 'nan'"),
        ("1\t1e39\ta.jpg", "label '1e39'"),
        ("1\t3.40282357e38\ta.jpg", "label '3.40282357e38'"),
        ("1\t0\t ", "path"),
        ("1\t0\t/etc/a.jpg", "/etc/a.jpg "),
        ("1\t0\t../a.jpg", "../a.jpg "),
        ("1\t0\ta/../../b.jpg", "a/../../b.jpg "),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, reason):
    (tmp_path / "x.lst").write_text(f"7\t0\tgood.jpg\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_list(tmp_path / "x.lst")
    assert "x.lst: line 2: " in str(caught.value) and reason in str(caught.value)


def test_lines_of_other_systems(tmp_path):
    (tmp_path / "x.lst").write_bytes(b"3 \t 1 \t a b.jpg\r\n\r\n4\t1\t2.5\tc/../d.jpg")
    expected = ImageList([3, 4], [(1.0,), (1.0, 2.5)], ["a b.jpg", "c/../d.jpg"])
    assert read_list(tmp_path / "x.lst") == expected


def test_files_that_are_not_lists(tmp_path):
    (tmp_path / "x.lst").write_text("\n")
    with pytest.raises(InputError, match=r"x\.lst: "):
        read_list(tmp_path / "x.lst")
    with pytest.raises(InputError, match=r"y\.lst: "):
        read_list(tmp_path / "y.lst")
    (tmp_path / "z.lst").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"z\.lst: line 1"):
        read_list(tmp_path / "z.lst")


def test_byte_order_marks(tmp_path):
    (tmp_path / "x.lst").write_bytes(b"\xef\xbb\xbf3\t1\ta.jpg\n")
    assert read_list(tmp_path / "x.lst") == ImageList([3], [(1.0,)], ["a.jpg"])
    for encoding in ("utf-16-le", "utf-16-be"):
        (tmp_path / "y.lst").write_bytes("\ufeff3\t1\ta.jpg\n".encode(encoding))
        with pytest.raises(InputError, match=r"y\.lst: is UTF-16"):
            read_list(tmp_path / "y.lst")


def test_the_first_labels_only(tmp_path):
    images = ImageList([3, 4], [(1.0, 2.5), (0.0,)], ["a.jpg", "b.jpg"])
    assert images.with_one_label() == ImageList([3, 4], [(1.0,), (0.0,)], ["a.jpg", "b.jpg"])
