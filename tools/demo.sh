#!/usr/bin/env bash
# The main tasks on 5,118 small images of 30 classes: pack, train, evaluate, predict. After the
# installation it takes about two minutes on two cores. A second run reuses existing results;
# `rm -r demo` deletes them.
# Usage:  bash tools/demo.sh [--open] [FOLDER]
#   --open   opens the report in the browser at the end, if there is a screen
#   FOLDER   of the results; default: demo
set -euo pipefail
cd "$(dirname "$0")/.."
open=
if [ "${1:-}" = --open ]; then
    open=$1
    shift
fi
demo=${1:-demo}
case $demo in
    -*)
        echo "demo: $demo: unknown option; usage: bash tools/demo.sh [--open] [FOLDER]" >&2
        exit 2
        ;;
esac

number=0
step() {
    number=$((number + 1))
    printf '\n=== %s of 5, after %s s: %s\n' "$number" "$SECONDS" "$1"
}

run() {
    local word
    printf '\n$'
    for word; do
        case $word in
            *[!A-Za-z0-9_./,=:-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    echo
    "$@"
}

step "the environment, which downloads packages the first time"
# An environment with the extra `test` has everything that the demo needs.
case ,$(cut -d ' ' -f 1 "${VENV:-.venv}/fits" 2>/dev/null || true) in
    *,test,*) . tools/setup.sh test ;;
    *) . tools/setup.sh ;;
esac

model=$demo/runs/resnet-20/model
step "packing"
run python -m imagenet_trainer.assets.demo_images --drawings "$demo/images"
for set in train val; do
    [ -f "$demo/data/$set.lst" ] || run python tools/im2rec.py --list --recursive "$demo/data/$set" "$demo/images/$set"
    run python tools/im2rec.py "$demo/data/$set" "$demo/images/$set" --encoding .png --num-thread 2
done
step "training, about a minute"
run python -m imagenet_trainer.fit --network resnet --num-layers 20 --image-shape 3,28,28 \
    --data-train "$demo/data/train.rec" --data-val "$demo/data/val.rec" --model-prefix "$model" \
    --batch-size 32 --num-epochs 10 --lr 0.05 --lr-step-epochs 6,9 \
    --random-resized-crop 0 --random-crop 1 --pad-size 2
step "evaluation of all epochs"
run python -m imagenet_trainer.evaluate --model-prefix "$model" --epochs all --order cluster \
    --gif --report
step "prediction"
run python -m imagenet_trainer.predict --model-prefix "$model" \
    "$demo/images/val/ankle-boot/0900.png" "$demo/images/val/dress/0300.png" \
    "$demo/images/val/vehicle/0003.png"

results=$PWD/$demo/runs/resnet-20
case $demo in /*) results=$demo/runs/resnet-20 ;; esac
echo
echo "Done in $SECONDS s. Open these:"
echo "report, with all images:        $results/report.html"
echo "confusion matrix over epochs:   $results/confusion.cluster.gif"
echo "confusion matrix of each epoch: $results/confusion-0001.cluster.png ... 0010"
if [ -n "$open" ]; then
    python -m imagenet_trainer.system.desktop "$results/report.html"
fi
