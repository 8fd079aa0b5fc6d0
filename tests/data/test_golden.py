"""One batch of every augmentation, as the versions before drew it.

A run that is resumed with another version must get the same images, so no draw, sign or constant
may change unnoticed. `python tests/data/test_golden.py` writes golden.json again after a change
that is meant; a resumed run then differs.

Steps are compared exactly, apart from the last digits of cosines. Pixels are compared by a checksum
where nothing is interpolated and no colour changes, elsewhere, since versions of OpenCV round
differently, by means of the batch, also weighted by the position.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data.augment import EvalTransform, TrainTransform, effective
from imagenet_trainer.data.mixup import Mixup

GOLDEN = Path(__file__).with_name("golden.json")
SIZE, SEED = (18, 23), 7
# Odd and even rooms around the crop; one of exactly its size, one that has to be enlarged.
SIDES = ((31, 40), (30, 41), (19, 24), (18, 23), (64, 33), (12, 50), (97, 98), (45, 46))
IMAGES = np.array([0, 1, 2, 3, 1000, 1_281_166, 10**9, 2**33])
EPOCHS = np.array([0, 1, 2, 3, 4, 89, 0, 0])

EXACT = {"random_resized_crop": False, "random_mirror": False}
FLAGS = {
    "random_resized_crop": {"random_mirror": False},
    "min_random_area": {"min_random_area": 0.5},
    "max_random_area": {"max_random_area": 0.5},
    "min_random_aspect_ratio": {"min_random_aspect_ratio": 0.25},
    "max_random_aspect_ratio": {"max_random_aspect_ratio": 3.0},
    "no_area_fits": {
        "min_random_area": 1.0,
        "min_random_aspect_ratio": 1.0,
        "max_random_aspect_ratio": 1.0,
    },
    "random_mirror": {**EXACT, "random_mirror": True},
    "centre": EXACT,
    "random_crop": {**EXACT, "random_crop": True},
    "pad_size": {**EXACT, "random_crop": True, "pad_size": 4},
    "pad_size_of_areas": {"pad_size": 3},
    "fill_value": {**EXACT, "random_crop": True, "pad_size": 4, "fill_value": 9},
    "max_random_rotate_angle": {**EXACT, "max_random_rotate_angle": 30.0},
    "max_random_shear_ratio": {**EXACT, "max_random_shear_ratio": 0.3},
    "min_random_scale": {**EXACT, "min_random_scale": 0.5},
    "max_random_scale": {**EXACT, "max_random_scale": 2.0},
    "rotated_areas": {"max_random_rotate_angle": 30.0, "max_random_shear_ratio": 0.3},
    "max_random_h": {**EXACT, "max_random_h": 36.0},
    "max_random_s": {**EXACT, "max_random_s": 50.0},
    "max_random_l": {**EXACT, "max_random_l": 50.0},
    "max_random_channel_shift": {**EXACT, "max_random_channel_shift": 20.0},
    "brightness": {**EXACT, "brightness": 0.4},
    "contrast": {**EXACT, "contrast": 0.4},
    "saturation": {**EXACT, "saturation": 0.4},
    "pca_noise": {**EXACT, "pca_noise": 0.1},
    "trivial_augment": {**EXACT, "auto_augment": "trivial"},
    "rand_augment": {**EXACT, "auto_augment": "rand"},
    "rand_augment_magnitude": {"auto_augment": "rand", "rand_augment_magnitude": 20},
    "three_augment": {**EXACT, "auto_augment": "three"},
    "random_erasing": {**EXACT, "random_erasing": 0.7},
    "train_interp": {"train_interp": "bicubic"},
    "train_interp_area": {"train_interp": "area"},
    "use_imagenet_data_augmentation": {"use_imagenet_data_augmentation": True},
}
WITHOUT_INTERPOLATION = ("random_mirror", "centre", "random_crop", "pad_size", "fill_value",
                         "random_erasing")  # fmt: skip


def image_of(height, width):
    """A formula: every pixel differs from its neighbours and its mirror image."""
    y, x = np.mgrid[:height, :width]
    planes = (3 * x + 5 * y, x * y % 251 + 2, 255 - 2 * x - y)
    return np.stack([plane % 256 for plane in planes], axis=2).astype(np.uint8)


def short(values):
    """Numbers with 12 digits, in one list."""
    return [float(f"{value:.12g}") for value in np.ravel(values)]


def steps_of(steps):
    """Steps as lists."""
    return {
        "windows": [list(steps.cut), list(steps.size), list(steps.window)],
        "warp": [] if steps.warp is None else short(steps.warp),
        "mirror": bool(steps.mirror),
        "colours": [] if steps.colours is None else short(steps.colours),
        "fill": steps.fill,
        # Not in the steps of the first versions, and not in those of evaluation.
        **({"interpolation": steps.interpolation} if steps.interpolation != "bilinear" else {}),
        **(
            {"operations": [[n, *short(m)] for n, m in steps.operations]}
            if steps.operations
            else {}
        ),
        **({"erased": list(steps.erased)} if steps.erased else {}),
    }


def pixels_of(batch, exact):
    """A checksum, or means of red, green and blue, plain and weighted by row and by column."""
    if exact:
        return zlib.crc32(batch.tobytes())
    down, right = (np.linspace(-1, 1, side) for side in SIZE)
    weights = np.ones(SIZE), np.outer(down, np.ones(SIZE[1])), np.outer(np.ones(SIZE[0]), right)
    means = [np.einsum("nhwc,hw->c", batch, w / w.size / len(batch)) for w in weights]
    return short(np.round(means, 4))


def measured(flag):
    """Steps of the batch, and its pixels."""
    transform = TrainTransform(AugmentSettings(**FLAGS[flag]), (3, *SIZE), SEED)
    drawn = transform.draw(IMAGES, EPOCHS)
    batch = np.zeros((len(SIDES), *SIZE, 3), np.uint8)
    for i, sides in enumerate(SIDES):
        transform.apply(image_of(*sides), drawn, i, batch[i])
    steps = [steps_of(transform.steps(sides, drawn, i)) for i, sides in enumerate(SIDES)]
    # Images 4 and 5 are enlarged to hold the crop, which interpolates.
    whole = [i for i, sides in enumerate(SIDES) if sides[0] >= SIZE[0] and sides[1] >= SIZE[1]]
    exact = flag in WITHOUT_INTERPOLATION
    return {"steps": steps, "pixels": pixels_of(batch[whole] if exact else batch, exact)}


def evaluated():
    """Windows of evaluation, for rooms of odd and even height and width."""
    sizes = [(3, high, wide) for high in (18, 19) for wide in (22, 23)]
    transforms = [EvalTransform(size, resize) for size in sizes for resize in (0, 28, 29)]
    return [steps_of(one.steps(sides, None, 0)) for one in transforms for sides in SIDES]


def shares():
    return short(Mixup(0.2, SEED).shares(IMAGES, EPOCHS))


def cuts():
    drawn = Mixup(0.2, SEED, 1.0).draw(IMAGES, EPOCHS, SIZE)
    return [short(drawn.shares), [list(cut or ()) for cut in drawn.cuts]]


def assert_same(found, wanted):
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert_same(found[key], value)
    elif isinstance(wanted, list) and any(isinstance(one, (list, dict)) for one in wanted):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted):
            assert_same(one, other)
    elif isinstance(wanted, str) or any(isinstance(one, str) for one in np.ravel(wanted)):
        assert found == wanted
    else:
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("flag", FLAGS)
def test_a_batch(golden, flag):
    found, wanted = measured(flag), golden[flag]
    assert_same(found["steps"], wanted["steps"])
    if flag in WITHOUT_INTERPOLATION:
        assert found["pixels"] == wanted["pixels"]
    else:
        np.testing.assert_allclose(found["pixels"], wanted["pixels"], atol=0.25)


def test_evaluation(golden):
    assert_same(evaluated(), golden["evaluation"])


def test_mixup(golden):
    assert_same(shares(), golden["mixup"])


def test_cutmix(golden):
    assert_same(cuts(), golden["cutmix"])


def test_every_flag_of_augmentation_has_a_batch():
    settings = set(AugmentSettings.__dataclass_fields__)
    settings.remove("decode_scale")  # of decoding: the steps stay the same
    assert {name for changes in FLAGS.values() for name in changes} == settings


def test_the_batches_differ(golden):
    """Every flag changes something, so that its value is in golden.json."""
    texts = [json.dumps(golden[flag], sort_keys=True) for flag in FLAGS]
    assert len(set(texts)) == len(texts)
    settings = AugmentSettings(use_imagenet_data_augmentation=True)
    assert effective(settings).pca_noise == 0.1


if __name__ == "__main__":
    values = {flag: measured(flag) for flag in FLAGS}
    values.update(evaluation=evaluated(), mixup=shares(), cutmix=cuts())
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
