#!/usr/bin/env bash
# The main tasks on 4,000 small images: pack, train, evaluate, predict. Takes about two minutes
# on two cores. A second run reuses existing results; `rm -r demo` deletes them.
# Usage:  bash tools/demo.sh [FOLDER]     of the results; default: demo
set -euo pipefail
cd "$(dirname "$0")/.."
demo=${1:-demo}
# An environment with the extra `test` has everything that the demo needs.
case ,$(cut -d ' ' -f 1 "${VENV:-.venv}/fits" 2>/dev/null || true) in
    *,test,*) . tools/setup.sh test ;;
    *) . tools/setup.sh ;;
esac

run() {
    echo
    echo "\$ $*"
    "$@"
}

model=$demo/runs/resnet-20/model
run python -m imagenet_trainer.assets.demo_images "$demo/images"
for set in train val; do
    [ -f "$demo/data/$set.lst" ] || run python tools/im2rec.py --list --recursive "$demo/data/$set" "$demo/images/$set"
    run python tools/im2rec.py "$demo/data/$set" "$demo/images/$set" --encoding .png --num-thread 2
done
run python -m imagenet_trainer.fit --network resnet --num-layers 20 --image-shape 3,28,28 \
    --data-train "$demo/data/train.rec" --data-val "$demo/data/val.rec" --model-prefix "$model" \
    --batch-size 32 --num-epochs 12 --lr 0.05 --lr-step-epochs 8,11 \
    --random-resized-crop 0 --random-crop 1 --pad-size 2
run python -m imagenet_trainer.evaluate --model-prefix "$model" --epochs all --gif --report
run python -m imagenet_trainer.predict --model-prefix "$model" \
    "$demo/images/val/ankle-boot/0900.png" "$demo/images/val/dress/0300.png" \
    "$demo/images/val/bag/0800.png"

echo
echo "confusion matrix of each epoch: $demo/runs/resnet-20/confusion-0001.png ... confusion-0012.png"
echo "GIF of all epochs:              $demo/runs/resnet-20/confusion.gif"
echo "report:                         $demo/runs/resnet-20/report.html"
