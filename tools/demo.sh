#!/usr/bin/env bash
# The main job on 4,000 small images: pack, train, evaluate, predict. Under five minutes on two
# cores. Run again, it reuses what is there; `rm -r demo` starts it afresh.
set -euo pipefail
cd "$(dirname "$0")/.."
# An environment made for the tests has all that the demo needs.
. tools/setup.sh "$(grep -qs test .venv/fits && echo test || true)"

say() {
    echo
    echo "\$ $*"
    "$@"
}

run=demo/runs/resnet-20/model
say python -m imagenet_trainer.assets.demo_images demo/pictures
for set in train val; do
    [ -f demo/data/$set.lst ] || say python tools/im2rec.py --list --recursive demo/data/$set demo/pictures/$set
    say python tools/im2rec.py demo/data/$set demo/pictures/$set --encoding .png --num-thread 2
done
say python -m imagenet_trainer.fit --network resnet --num-layers 20 --image-shape 3,28,28 \
    --data-train demo/data/train.rec --data-val demo/data/val.rec --model-prefix $run \
    --batch-size 32 --num-epochs 12 --lr 0.05 --lr-step-epochs 8,11 \
    --random-resized-crop 0 --random-crop 1 --pad-size 2
say python -m imagenet_trainer.evaluate --model-prefix $run --epochs all --gif --report
say python -m imagenet_trainer.predict --model-prefix $run \
    demo/pictures/val/ankle-boot/0900.png demo/pictures/val/dress/0300.png \
    demo/pictures/val/bag/0800.png

echo
echo "The confusion matrix of each epoch: demo/runs/resnet-20/confusion-0001.png ... confusion-0012.png"
echo "All epochs in one moving picture:   demo/runs/resnet-20/confusion.gif"
echo "Everything about the network:       demo/runs/resnet-20/report.html"
