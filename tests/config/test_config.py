import dataclasses

from imagenet_trainer import config
from imagenet_trainer.config import flags


def parse(*argv, kind=config.FitSettings):
    return flags.parse(kind, list(argv), "fit", "Train.")


# Flags of old fit.py and train_imagenet.py command lines.
OLD_FLAGS = """--network --num-layers --gpus --kv-store --num-epochs --lr --lr-factor
    --lr-step-epochs --initializer --optimizer --mom --wd --batch-size --disp-batches
    --model-prefix --save-period --monitor --load-epoch --top-k --loss --test-io --dtype --gc-type
    --gc-threshold --warmup-epochs --warmup-strategy --data-train --data-train-idx --data-val
    --data-val-idx --rgb-mean --rgb-std --pad-size --fill-value --image-shape --num-classes
    --num-examples --data-nthreads --benchmark --random-crop --random-mirror --random-resized-crop
    --min-random-area --max-random-area --min-random-aspect-ratio --max-random-aspect-ratio
    --max-random-rotate-angle --max-random-shear-ratio --min-random-scale --max-random-scale
    --max-random-h --max-random-s --max-random-l --brightness --contrast --saturation
    --pca-noise --use-imagenet-data-augmentation""".split()


def test_every_old_flag_exists():
    known = {flags.flag_of(field.name) for field in dataclasses.fields(config.FitSettings)}
    assert not set(OLD_FLAGS) - known


def test_an_old_command_line_runs():
    settings = parse(
        *"--network resnet --num-layers 50 --gpus 0,1,2,3 --kv-store device".split(),
        *"--lr 0.4 --lr-step-epochs 30,60,80 --num-epochs 90 --batch-size 512".split(),
        *"--rgb-mean 123.68,116.779,103.939 --data-nthreads 16 --random-mirror 1".split(),
        *"--top-k 5 --num-classes 1000 --num-examples 1281167 --benchmark 0".split(),
    )
    assert settings.gpus == (0, 1, 2, 3)
    assert settings.lr_step_epochs == (30.0, 60.0, 80.0)
    assert settings.image_shape == (3, 224, 224)
    assert settings.random_mirror is True and settings.benchmark is False


def test_defaults_are_the_old_ones():
    settings = parse()
    assert (settings.lr, settings.lr_factor, settings.mom, settings.wd) == (0.1, 0.1, 0.9, 1e-4)
    assert (settings.batch_size, settings.disp_batches, settings.save_period) == (128, 20, 1)
    assert settings.rgb_mean == (123.68, 116.779, 103.939) and settings.fill_value == 127
    assert settings.kv_store == "device" and settings.gpus == ()


def test_settings_that_affect_results_may_not_change():
    may_change = {
        f.name for f in dataclasses.fields(config.FitSettings) if f.metadata["may_change"]
    }
    assert {"num_epochs", "disp_batches", "data_nthreads", "gpus", "data_train"} <= may_change
    assert not may_change & {
        "lr",
        "batch_size",
        "seed",
        "network",
        "wd",
        "random_mirror",
        "image_shape",
    }
