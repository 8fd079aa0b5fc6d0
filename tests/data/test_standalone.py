import copy
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, write_records

from imagenet_trainer import data, recordio
from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data.augment import EvalTransform, TrainTransform
from imagenet_trainer.data.loader import training_batches
from imagenet_trainer.data.order import Order
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.errors import ArgumentError, InputError

SHAPE = (3, 16, 18)
GREY = AugmentSettings(saturation=0.5, random_mirror=True)


def loader(packed, **options):
    options = {"batch_size": 7, "image_shape": SHAPE, "seed": 3, "threads": 2, **options}
    return data.Loader(packed / "train.rec", **options)


def taken(batches):
    images, labels = zip(*batches)
    return np.concatenate(images), np.concatenate(labels)


def assert_equal(ours, theirs):
    for one, other in zip(ours, theirs):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


# --- training -------------------------------------------------------------------------------------


def test_batches_are_those_of_fit(packed):
    with Shards([packed / "train.rec"]) as shards:
        order, transform = Order(3, 60, 7), TrainTransform(GREY, SHAPE, 3)
        with training_batches(shards, order, transform, 3, range(17)) as batches:
            expected = taken([(one.images.copy(), one.labels.copy()) for one in batches])
    with loader(packed, augmentation=GREY) as ours:
        # 60 images in batches of 7: the epochs have 8, 9, 8 batches.
        epochs = [list(ours), list(ours)]
        assert [len(epoch) for epoch in epochs] == [8, 9]
        assert (ours.epoch, ours.update, len(ours)) == (2, 17, 8)
        assert_equal(taken(epochs[0] + epochs[1]), expected)
        assert [one for one, _ in ours.classes] == ["circle", "cross", "square"]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_training_continues_with_any_number_of_workers(packed, world):
    with loader(packed, batch_size=6) as whole:
        expected = [batch for _ in range(2) for batch in whole]
    with loader(packed, batch_size=6) as first:
        some = [batch for _, batch in zip(range(4), first)]
        state = first.state_dict()
        assert_equal(taken(some), taken(expected[:4]))
    parts = []
    for rank in range(world):
        with loader(packed, batch_size=6, rank=rank, world=world, threads=1) as rest:
            rest.load_state_dict(state)
            parts.append([batch for _ in range(2) for batch in rest])
    assert all(len(part) == 16 for part in parts)
    for number, batches in enumerate(zip(*parts)):
        assert_equal(taken(batches), expected[4 + number])


def test_an_iteration_that_was_left_goes_on(packed):
    with loader(packed) as whole, loader(packed) as left:
        expected = list(whole)
        some = [next(iter(left)), next(iter(left))]
        assert_equal(taken(some + list(left)), taken(expected))


def test_going_back_repeats_batches(packed):
    with loader(packed) as one:
        start, before = one.state_dict(), list(one)
        one.load_state_dict(start)
        assert_equal(taken(list(one)), taken(before))


@pytest.mark.parametrize("other", [{"seed": 4}, {"batch_size": 6}, {"shuffle_window": 20}], ids=str)
def test_a_state_of_another_order_is_refused(packed, other):
    with loader(packed) as one, loader(packed, **other) as two:
        with pytest.raises(InputError, match=next(iter(other))):
            two.load_state_dict(one.state_dict())
        assert two.update == 0


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 61}, {"batch_size": 0}, {"world": 2}, {"rank": 1}, {"seed": -1},
     {"threads": -1}, {"prefetch": -1}, {"shuffle_window": -1}, {"image_shape": (16, 16, 3)},
     {"image_shape": (16, 16)}, {"image_shape": (3, 0, 16)}],
    ids=str,
)  # fmt: skip
def test_what_cannot_be(packed, wrong):
    before = len(os.listdir("/proc/self/fd"))
    name = "batch_size" if "world" in wrong else next(iter(wrong))
    with pytest.raises(ArgumentError, match=f"^{name} ") as error:
        loader(packed, **wrong)
    assert len(os.listdir("/proc/self/fd")) == before, error  # its traceback holds the loader
    if name in ("threads", "image_shape"):
        with pytest.raises(ArgumentError, match=f"^{name} "):
            data.EvaluationLoader(packed / "train.rec", 4, **wrong)


def test_augmentation_is_checked_as_that_of_fit(packed):
    with pytest.raises(InputError, match=r"^--train-interp: .*'cubic'"):
        loader(packed, augmentation=AugmentSettings(train_interp="cubic"))
    with pytest.raises(InputError, match=r"none\.rec"):
        data.Loader(packed / "none.rec", 4)


def test_a_damaged_record_is_an_error_and_the_loader_stays_usable(packed, tmp_path):
    for name in ("train.rec", "train.idx", "train.json"):
        (tmp_path / name).write_bytes((packed / name).read_bytes())
    whole = (tmp_path / "train.rec").read_bytes()
    middle = len(whole) // 2
    (tmp_path / "train.rec").write_bytes(whole[:middle] + b"\0" * 9 + whole[middle + 9 :])
    with loader(tmp_path) as one:
        for _ in range(2):
            with pytest.raises(InputError, match=r"train\.rec: record \d+ .*CRC"):
                for _ in one:
                    pass


def test_no_engine_is_needed(packed):
    """Neither is imported, so the module works where neither is installed."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'mxnet', 'jax')))\n"
        "from imagenet_trainer import data, recordio\n"
        "path = sys.argv[1]\n"
        "with data.Loader(path, 6, (3, 20, 20)) as loader: print(next(iter(loader))[0].shape)\n"
        "with data.EvaluationLoader(path, 6, (3, 20, 20)) as loader: print(len(list(loader)))\n"
        "print(len(data.RecordDataset(path)[3][0]))\n"
        "print(len(recordio.unpack(recordio.MXRecordIO(path, 'r').read())[1]))\n"
    )
    path = str(packed / "train.rec")
    words = [sys.executable, "-c", code, path]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    shape, batches, third, first = done.stdout.splitlines()
    assert (shape, batches) == ("(6, 20, 20, 3)", "10")
    with data.RecordDataset(path) as dataset:
        assert [int(first), int(third)] == [len(dataset[0][0]), len(dataset[3][0])]


def test_tensors(packed):
    torch = pytest.importorskip("torch")
    with loader(packed) as arrays, loader(packed) as tensors:
        (images, labels), (expected, same) = next(tensors.as_torch()), next(iter(arrays))
    assert images.shape == (7, *SHAPE) and images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.is_pinned() == torch.cuda.is_available()
    assert_equal((images.permute(0, 2, 3, 1).numpy(), labels.numpy()), (expected, same))


# --- evaluation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_image_is_evaluated_once(packed, world):
    path, transform = packed / "val.rec", EvalTransform(SHAPE, 20)
    dataset = data.RecordDataset(path)
    parts = []
    for rank in range(world):
        with data.EvaluationLoader(path, 4, SHAPE, 20, rank, world, threads=1) as part:
            batches = list(part)
            assert len(batches) == len(part)
            parts += batches
    images, labels = taken(parts)
    assert labels.tolist() == [dataset[i][1] for i in range(15)]
    expected = np.empty_like(images[0])
    for number in (0, 9, 14):
        transform.apply(decoded(dataset[number][0]), None, 0, expected)
        np.testing.assert_array_equal(images[number], expected)


def decoded(data):
    import cv2

    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def test_the_examples_of_the_guide_run(packed, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    (tmp_path / "data").symlink_to(packed)
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), names)
    assert len(blocks) == 7
    assert names["state"]["update"] == 3  # two epochs of 60 images in batches of 32
    assert names["header"].label == 3 and names["data"] == names["image"]


# --- map style ------------------------------------------------------------------------------------


def test_images_by_position_are_those_of_the_shard(packed):
    dataset = data.RecordDataset(packed / "train.rec")
    reader = recordio.MXRecordIO(packed / "train.rec", "r")
    assert len(dataset) == 60
    for number in range(60):
        header, image = recordio.unpack(reader.read())
        assert dataset[number] == (image, int(header.label))
    assert dataset[-1] == dataset[59]
    for outside in (60, -61):
        with pytest.raises(IndexError):
            dataset[outside]


def test_a_transform_and_a_copy(packed):
    dataset = data.RecordDataset(packed / "train.rec", transform=len)
    other = copy.deepcopy(dataset)
    assert other[5] == dataset[5] and isinstance(other[5][0], int)


def test_an_open_loader_is_not_passed_to_a_process(packed):
    """Which would read another file, or none, by the number of ours."""
    with loader(packed) as batches, pytest.raises(TypeError, match="open the loader in the other"):
        pickle.dumps(batches)


def test_pytorchs_loader_reads_it_in_processes(packed):
    utils = pytest.importorskip("torch.utils.data")
    dataset = data.RecordDataset(packed / "val.rec", transform=len)
    batches = list(utils.DataLoader(dataset, batch_size=5, num_workers=2))
    assert [label for _, labels in batches for label in labels.tolist()] == [
        dataset[i][1] for i in range(15)
    ]


def test_labels_that_are_no_classes(tmp_path):
    header = recordio.IRHeader(0, 7, 0, 0)
    path = write_records(tmp_path / "a.rec", [recordio.pack(header, b"image")])
    with pytest.raises(InputError, match="label 7"):
        data.RecordDataset(path, num_classes=3)
    assert data.RecordDataset(path, num_classes=8)[0] == (b"image", 7)
