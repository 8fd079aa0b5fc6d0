"""Decoding by DALI on the CPU and on a GPU, if there is one; the last tests need neither."""

import io
from itertools import islice

import numpy as np
import pytest
from conftest import ROOT, words_of_fit, write_records
from helpers.loading import no_thread_is_left  # noqa: F401
from PIL import Image

from imagenet_trainer import fit
from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data.augment import TrainTransform, decode
from imagenet_trainer.data.dali import DaliError, DecodedBatches, corner_matrices, inputs_of
from imagenet_trainer.data.encoded import Encoded
from imagenet_trainer.data.loader import Threads, training_batches
from imagenet_trainer.data.mixup import Mixup
from imagenet_trainer.data.order import Order
from imagenet_trainer.data.records.record_file import RecordError
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.data.transforms import Steps, execute
from imagenet_trainer.runs import params
from imagenet_trainer.train import gpu_decoding as decoding
from imagenet_trainer.train.gpu_decoding import has_dali

PHOTOS = sorted((ROOT / "imagenet_trainer/assets/photos").rglob("*.jpg"))
needs_dali = pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")
SIDE = 224  # from these photographs, no crop shrinks to half, where areas are averaged


def has_gpu():
    try:
        import torch
    except ModuleNotFoundError:
        return False
    return torch.cuda.is_available()


@pytest.fixture(params=["cpu", "gpu"])
def device(request):
    """The `gpu` of DecodedBatches: none, or the first one."""
    if request.param == "gpu" and not has_gpu():
        pytest.skip("no GPU here")
    return None if request.param == "cpu" else 0


def as_array(images):
    if isinstance(images, np.ndarray):
        return images
    import torch

    return torch.from_dlpack(images).cpu().numpy()


def others():
    """Images that nvJPEG does not decode, or not as OpenCV does."""
    image = Image.open(PHOTOS[0])
    for kind, mode in (("PNG", "RGB"), ("JPEG", "CMYK"), ("BMP", "L")):
        file = io.BytesIO()
        image.convert(mode).save(file, kind)
        yield file.getvalue()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    images = [path.read_bytes() for path in PHOTOS] + list(others())
    path = tmp_path_factory.mktemp("shards") / "a.rec"
    records = (pack_header(float(i % 5), i) + data for i, data in enumerate(images))
    with Shards([write_records(path, records)]) as opened:
        yield opened


def batches_of(shards, settings, first=0, last=3, mixup=None, encoded=True, batch=8, side=SIDE):
    transform = TrainTransform(settings, (3, side, side), 3)
    order = Order(3, len(shards), batch)
    return training_batches(
        shards,
        order,
        transform,
        5,
        range(first, last),
        threads=Threads(2),
        mixup=mixup,
        encoded=encoded,
    )


def by_opencv(shards, settings, **options):
    with batches_of(shards, settings, encoded=False, **options) as loader:
        return [
            (batch.update, batch.labels.copy(), batch.indices.copy(), batch.images.copy())
            for batch in loader
        ]


def by_dali(shards, settings, device=None, **options):
    with batches_of(shards, settings, **options) as loader:
        return [
            (batch.update, batch.labels, batch.indices, as_array(batch.images))
            for batch in DecodedBatches(loader, shards, device)
        ]


COLOURS = AugmentSettings(use_imagenet_data_augmentation=True, max_random_h=20)
WARPS = AugmentSettings(max_random_rotate_angle=20, max_random_shear_ratio=0.1)
# Largest difference of a pixel, mean difference of an image; of 255.
TOLERANCES = {
    "crops": (AugmentSettings(max_random_aspect_ratio=1.5), SIDE, 1, 0.3),
    "colours": (COLOURS, SIDE, 4, 0.5),
    "warps": (WARPS, SIDE, 8, 0.4),
    "padded": (AugmentSettings(pad_size=40, min_random_area=0.9), SIDE, 1, 0.3),
    "plain crops": (
        AugmentSettings(random_resized_crop=False, random_crop=True, pad_size=9), 96, 0, 0,
    ),
    "enlarged": (AugmentSettings(random_resized_crop=False), 299, 1, 0.3),
    # DALI averages areas with a Gaussian filter instead of a box.
    "averaged": (AugmentSettings(min_random_area=0.5), 48, 40, 3),
}  # fmt: skip


@needs_dali
@pytest.mark.parametrize("name", TOLERANCES)
def test_pixels_are_opencv_s_but_for_rounding(shards, device, name):
    settings, side, most, mean = TOLERANCES[name]
    if device is not None:  # nvJPEG rounds differently
        most, mean = most + 40, mean + 2
    ours = by_opencv(shards, settings, side=side)
    theirs = by_dali(shards, settings, device, side=side)
    assert len(ours) == len(theirs) == 3
    for (update, labels, indices, images), other in zip(ours, theirs):
        assert update == other[0]
        assert np.array_equal(labels, other[1]) and np.array_equal(indices, other[2])
        assert (other[3].dtype, other[3].shape) == (np.uint8, images.shape)
        off = np.abs(images.astype(int) - other[3])
        assert off.max() <= most
        assert off.mean(axis=(1, 2, 3)).max() <= mean


@needs_dali
def test_images_are_mixed_after_decoding(shards, device):
    mixup, settings = Mixup(1.0, 3), AugmentSettings()
    ours = by_opencv(shards, settings, mixup=mixup)
    theirs = by_dali(shards, settings, device, mixup=mixup)
    most = 2 if device is None else 40
    for (*_, images), (*_, other) in zip(ours, theirs):
        assert np.abs(images.astype(int) - other).max() <= most


@needs_dali
def test_the_stream_can_begin_anywhere(shards):
    settings = AugmentSettings(brightness=0.2)
    straight = by_dali(shards, settings, last=4)
    resumed = by_dali(shards, settings, first=2, last=4)
    for one, other in zip(straight[2:], resumed):
        assert one[0] == other[0] and np.array_equal(one[3], other[3])


@needs_dali
def test_batches_have_labels_mixes_and_an_end(shards):
    with batches_of(shards, AugmentSettings(), last=12, mixup=Mixup(1.0, 3), side=8) as loader:
        stream = DecodedBatches(loader, shards, None)
        first = next(stream)
        labels, images = first.labels.copy(), first.images.copy()
        second = next(stream)
        assert first.wait > 0 and second.update == 1
        assert np.array_equal(first.mix[0], labels.reshape(-1, 2)[:, ::-1].reshape(-1))
        assert [batch.update for batch in stream] == list(range(2, 12))
        # The labels stay valid, although the loader has reused its buffers.
        assert np.array_equal(first.labels, labels) and np.array_equal(first.images, images)
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(stream)


def with_record(shards, tmp_path, data):
    """The shards with another record, and its number."""
    records = [bytes(shards.read(i)) for i in range(len(shards))]
    records.append(pack_header(1.0, len(records)) + data)
    return Shards([write_records(tmp_path / "damaged.rec", records)]), len(records) - 1


def until_error(shards, settings, device=None):
    lines = []
    with batches_of(shards, settings, last=4) as loader:
        stream = DecodedBatches(loader, shards, device, log=lines.append)
        return list(islice(stream, 4)), lines


@needs_dali
def test_a_damaged_image_names_its_record(shards, tmp_path):
    photo = PHOTOS[0].read_bytes()
    with with_record(shards, tmp_path, photo[:200] + photo[-400:])[0] as damaged:
        last = len(damaged) - 1
        with pytest.raises(ValueError, match="not an image"):
            decode(damaged.record(last).image)
        with pytest.raises(RecordError, match=rf"record {last} .*pack the set again"):
            until_error(damaged, AugmentSettings())


@needs_dali
def test_opencv_decodes_what_dali_cannot(shards, monkeypatch):
    from imagenet_trainer.data import dali

    settings, expected = AugmentSettings(), by_opencv(shards, AugmentSettings(), last=4)
    take, calls = dali._Pipeline.take, []

    def once(pipeline):
        calls.append(pipeline)
        images = take(pipeline)
        if len(calls) == 2:
            raise RuntimeError("Critical error\n\nencountered:\n\nnvJPEG refuses this one.\n")
        return images

    monkeypatch.setattr(dali._Pipeline, "take", once)
    batches, [line] = until_error(shards, settings)
    assert line.startswith("update 1: ") and "nvJPEG refuses this one" in line
    assert calls[1] is not calls[2] and calls[2] is calls[3]  # rebuilt after the error
    for (*_, images), batch in zip(expected, batches):
        assert np.abs(images.astype(int) - as_array(batch.images)).max() <= 1


@needs_dali
def test_an_error_of_dali_is_one_line(shards, monkeypatch):
    from imagenet_trainer.data import dali

    def never(pipeline):
        raise RuntimeError("no memory is left.\nmore of it")

    monkeypatch.setattr(dali._Pipeline, "take", never)
    with pytest.raises(DaliError, match=r"^DALI: no memory is left$"):
        until_error(shards, AugmentSettings())


@pytest.mark.skipif("not has_dali() or has_gpu()", reason="needs DALI and no GPU")
def test_a_missing_gpu(shards):
    with batches_of(shards, AugmentSettings()) as loader:
        with pytest.raises(DaliError, match=r"^DALI: .*CUDA"):
            next(DecodedBatches(loader, shards, 0))


@needs_dali
def test_an_engine_trains_on_decoded_batches(shards, device):
    pytest.importorskip("torch")
    from helpers.tiny_engine import SIDE as TINY
    from helpers.tiny_engine import everything, network, open_one

    engine = open_one("torch", network(), devices={} if device is None else {"gpus": (0,)})
    same = open_one("torch", network(), devices={} if device is None else {"gpus": (0,)})
    with batches_of(shards, AugmentSettings(), side=TINY) as loader:
        for batch in DecodedBatches(loader, shards, device):
            same.train_batch(as_array(batch.images).copy(), batch.labels, 0.01)
            engine.train_batch(batch.images, batch.labels, 0.01)
    ours, theirs = everything(engine), everything(same)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6, err_msg=name)


@needs_dali
def test_a_resumed_run_is_bit_identical(packed, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(decoding, "decodes_on_gpu", lambda settings: True)
    monkeypatch.setattr(
        decoding, "decoded",
        lambda batches, settings, shards, threads, log: DecodedBatches(
            batches, shards, None, threads
        ),
    )  # fmt: skip
    words = [*words_of_fit(packed), "--engine", "torch", "--mixup", "0.4", "--brightness", "0.2"]
    ours, theirs = (str(tmp_path / name / "model") for name in ("a", "b"))
    assert fit.main([*words, "--model-prefix", ours]) == 0
    for epochs in ("1", "2"):
        assert fit.main([*words, "--model-prefix", theirs, "--num-epochs", epochs]) == 0
    one, other = (params.read(f"{prefix}-0002.params") for prefix in (ours, theirs))
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


# --- without DALI ------------------------------------------------------------------------------


def test_matrices_for_dali_have_their_origin_at_a_corner():
    # Twice as large, a pixel further right, turned by a quarter: centres stay centres.
    warps = np.array([[[2.0, 0, 1], [0, 2, 0]], [[0, -1, 5], [1, 0, 0]]])
    for warp, matrix in zip(warps, corner_matrices(list(warps))):
        for centre in ((0, 0), (3, 7)):
            corner = np.array([*centre, 0]) + [0.5, 0.5, 1]
            assert matrix @ corner == pytest.approx(warp @ [*centre, 1] + 0.5)


def test_inputs_of_an_encoded_batch():
    colours = np.arange(12.0).reshape(3, 4)
    steps = [
        Steps((3, 2, 40, 30), (10, 20), (1, -2, 8, 9), None, True, colours, 127),
        Steps((0, 0, 30, 19), (10, 20), (0, 0, 8, 9), None, False, colours + 1, 127),
    ]
    shares = np.array([0.25, 0.75], np.float32)
    inputs = inputs_of(Encoded([np.zeros(3, np.uint8)] * 2, steps, (9, 8), shares))
    assert inputs["cut_start"].tolist() == [[2, 3], [0, 0]]
    assert inputs["cut_shape"].tolist() == [[30, 40], [19, 30]]
    assert inputs["averaged"].tolist() == [[10, 20], [19, 30]]  # of the second, nothing is averaged
    assert inputs["size"].tolist() == [[10, 20], [10, 20]]
    assert inputs["window_start"].tolist() == [[-2, 1], [0, 0]]
    assert inputs["window_shape"].tolist() == [[9, 8], [9, 8]]
    assert inputs["mirror"].tolist() == [1, 0]
    assert inputs["colours"][1].tolist() == (colours + 1).tolist()
    assert inputs["share"] is shares and "warp" not in inputs
    warped = [step._replace(warp=np.eye(2, 3), colours=None) for step in steps]
    inputs = inputs_of(Encoded([np.zeros(3, np.uint8)] * 2, warped, (9, 8)))
    assert inputs["warp"].shape == (2, 2, 3)
    assert not {"window_start", "colours", "share"} & inputs.keys()


def test_an_encoded_batch_determines_its_pixels(shards):
    settings = AugmentSettings(brightness=0.3, pca_noise=0.1)
    expected = by_opencv(shards, settings)
    with batches_of(shards, settings) as loader:
        for (update, labels, indices, images), batch in zip(expected, loader):
            assert update == batch.update
            assert np.array_equal(labels, batch.labels) and np.array_equal(indices, batch.indices)
            out = np.empty_like(images[0])
            for i, (data, steps) in enumerate(zip(batch.images.images, batch.images.steps)):
                execute(steps, decode(data), out)
                assert np.array_equal(out, images[i])


def test_an_encoded_batch_has_the_shares_of_mixup(shards):
    mixup = Mixup(1.0, 3)
    with batches_of(shards, AugmentSettings(), mixup=mixup) as loader:
        for batch in loader:
            assert np.array_equal(batch.images.shares, batch.mix[1])


def test_an_undecodable_record_stops_an_encoded_loader(shards, tmp_path):
    with with_record(shards, tmp_path, PHOTOS[0].read_bytes()[:2000])[0] as damaged:
        with batches_of(damaged, AugmentSettings()) as loader:
            with pytest.raises(RecordError, match=r"end marker.*pack the set again"):
                list(loader)
