import re

import pytest
from conftest import message_of

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.config.other_trainers import WAYS_OUT, way_out


def flags_of(settings):
    parser = flags.parser_of(settings, "", "")
    return {name for action in parser._actions for name in action.option_strings}


FIT, EVALUATE = flags_of(config.FitSettings), flags_of(config.EvaluateSettings)

# Of timm's train.py, 0.6 to 0.9.
TIMM = """
--config --data-dir --dataset --train-split --val-split --dataset-download --class-map --model
--pretrained --initial-checkpoint --resume --no-resume-opt --num-classes --gp --img-size --in-chans
--input-size --crop-pct --mean --std --interpolation --batch-size --validation-batch-size
--channels-last --fuser --grad-accum-steps --grad-checkpointing --fast-norm --model-kwargs
--head-init-scale --head-init-bias --torchscript --torchcompile --opt --opt-eps --opt-betas
--momentum --weight-decay --clip-grad --clip-mode --layer-decay --opt-kwargs --sched
--sched-on-updates --lr --lr-base --lr-base-size --lr-base-scale --lr-noise --lr-noise-pct
--lr-noise-std --lr-cycle-mul --lr-cycle-decay --lr-cycle-limit --lr-k-decay --warmup-lr --min-lr
--epochs --epoch-repeats --start-epoch --decay-milestones --decay-epochs --warmup-epochs
--warmup-prefix --cooldown-epochs --patience-epochs --decay-rate --dr --no-aug --scale --ratio
--hflip --vflip --color-jitter --aa --aug-repeats --aug-splits --jsd-loss --bce-loss
--bce-target-thresh --reprob --remode --recount --resplit --mixup --cutmix --cutmix-minmax
--mixup-prob --mixup-switch-prob --mixup-mode --mixup-off-epoch --smoothing --train-interpolation
--drop --drop-connect --drop-path --drop-block --bn-momentum --bn-eps --sync-bn --dist-bn --split-bn
--model-ema --model-ema-force-cpu --model-ema-decay --seed --worker-seeding --log-interval
--recovery-interval --checkpoint-hist --workers --save-images --amp --amp-dtype --amp-impl
--apex-amp --native-amp --no-ddp-bb --synchronize-step --pin-mem --no-prefetcher --output
--experiment --eval-metric --tta --local_rank --use-multi-epochs-loader --log-wandb
""".split()
# Of torchvision's references/classification/train.py, 0.14 to 0.20.
TORCHVISION = """
--data-path --model --device --batch-size --epochs --workers --opt --lr --momentum --wd
--weight-decay --norm-weight-decay --bias-weight-decay --transformer-embedding-decay
--label-smoothing --mixup-alpha --cutmix-alpha --lr-scheduler --lr-warmup-epochs --lr-warmup-method
--lr-warmup-decay --lr-step-size --lr-gamma --lr-min --print-freq --output-dir --resume
--start-epoch --cache-dataset --sync-bn --test-only --auto-augment --ra-magnitude --augmix-severity
--random-erase --amp --world-size --dist-url --model-ema --model-ema-steps --model-ema-decay
--use-deterministic-algorithms --interpolation --val-resize-size --val-crop-size --train-crop-size
--clip-grad-norm --ra-sampler --ra-reps --weights --backend --use-v2
""".split()


@pytest.mark.parametrize("flag", sorted(WAYS_OUT))
def test_the_flags_that_the_table_names_exist(flag):
    assert flag not in FIT  # it would be dead
    found = WAYS_OUT[flag]
    named = re.findall(r"(?<![\w-])--[a-z][\w-]*", found)
    known = EVALUATE if found.startswith("evaluate") else FIT
    assert {*named} <= known
    if " " not in found:
        assert named == [found]


@pytest.mark.parametrize("flag", TIMM + TORCHVISION)
def test_every_flag_of_the_others_is_ours_or_has_a_way_out(flag):
    assert flag in FIT or way_out(flag, FIT)


def error_of(settings, *words):
    return message_of(flags.parse_or_raise, settings, words)


@pytest.mark.parametrize(("flag", "wanted"), [
    ("--device", "--gpus 0"), ("--sched", "did you mean --lr-schedule?"), ("--resume", "run again"),
    ("-c", "did you mean --config?"), ("-j", "--data-nthreads?"),
    ("--epochs=3", "did you mean --num-epochs?"), ("--test-only", "imagenet_trainer.evaluate"),
    ("--netwrok", "did you mean --network?"), ("--num_epochs", "did you mean --num-epochs?"),
])  # fmt: skip
def test_of_fit(flag, wanted):
    message = error_of(config.FitSettings, flag, "3")
    assert message.startswith(f"{flag}: no such flag; ") and wanted in message


@pytest.mark.parametrize("flag", ["--seeed-everything", "--opty", "--xyz"])
def test_what_resembles_no_flag_gets_no_suggestion(flag):
    assert error_of(config.FitSettings, flag, "3") == f"{flag}: no such flag"


def test_of_commands_with_a_trained_network():
    assert "did you mean --gpus?" in error_of(config.EvaluateSettings, "--device", "cuda")
    assert "did you mean --model-prefix?" in error_of(config.PredictSettings, "--resume", "a")
    # Sentences are about training.
    assert way_out("--vflip", EVALUATE) == ""
