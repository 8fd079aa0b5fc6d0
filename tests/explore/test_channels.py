import numpy as np

from imagenet_trainer.explore.channels import channels, histogram


def noise(seed, height=20, width=30):
    random = np.random.default_rng(seed)
    return random.integers(0, [100, 200, 256], (height, width, 3)).astype(np.uint8)


def test_a_histogram_counts_every_pixel_in_rgb_order():
    pixels = noise(0)
    shares = histogram(pixels)
    assert shares.shape == (3, 256)
    for channel in range(3):
        expected = np.bincount(pixels[..., channel].ravel(), minlength=256) / 600
        assert np.allclose(shares[channel], expected)
    assert shares[0, 100:].sum() == 0 < shares[2, 100:].sum()


def test_mean_and_deviation_are_those_of_all_pixels():
    images = [noise(seed) for seed in range(5)]
    result = channels(np.mean([histogram(image) for image in images], axis=0))
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]).astype(float)
    assert np.allclose(result.mean, pixels.mean(axis=0))
    assert np.allclose(result.std, pixels.std(axis=0))


def test_images_weigh_the_same_whatever_their_size():
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((50, 70, 3), 255, np.uint8)
    result = channels((histogram(black) + histogram(white)) / 2)
    assert np.allclose(result.mean, 127.5)
    assert np.allclose(result.std, 127.5)


def test_one_colour_has_no_deviation():
    result = channels(histogram(np.full((3, 4, 3), 77, np.uint8)))
    assert result.mean == (77, 77, 77)
    assert result.std == (0, 0, 0)
