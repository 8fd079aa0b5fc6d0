from dataclasses import replace

import pytest

from imagenet_trainer.benchmarks.advice import TrainingProfile, advise

# A CPU training that cannot be improved: 16 images in 0.64 s, 25 images/s.
CPU = TrainingProfile(
    processors=2, threads=1, gpus=0, batch_size=16, dtype="bfloat16", faster_dtypes="bfloat16",
    read=0.00005, decode=0.0007, augment=0.00025, short_side=256.0, crop_side=224,
    copy=0.001, compute=0.62, metric=0.001, update=0.018, half_batch=0.33,
    data_rate=1000.0, network_rate=25.0, together_rate=24.8, wait_share=0.001,
)  # fmt: skip
# A GPU that trains on 2,000 images/s, and 15 threads that decode 2,400.
GPU = replace(
    CPU, processors=16, threads=15, gpus=1, batch_size=256, dtype="float16", decode=0.005,
    copy=0.006, compute=0.110, metric=0.002, update=0.010, half_batch=0.066,
    data_rate=2400.0, network_rate=2000.0, together_rate=1990.0, wait_share=0.004,
)  # fmt: skip


def test_the_network_is_the_limit():
    for measured, more in ((CPU, "a GPU, or more processors"), (GPU, "more GPUs")):
        verdict, advice = advise(measured)
        assert verdict.startswith("The network is the limit")
        assert more in advice
    assert "99%" in advise(CPU)[0] and "0.1%" in advise(CPU)[0]


def test_a_faster_number_format():
    slow = replace(CPU, dtype="float32")
    assert advise(slow)[1].startswith("--dtype bfloat16: ")
    assert not any("--dtype" in words for words in advise(replace(slow, faster_dtypes="")))
    assert not any("--dtype" in words for words in advise(CPU))


def test_a_batch_that_is_too_small():
    # Half the batch takes 100 of 128 ms: 72 ms do not depend on it.
    verdict, advice = advise(replace(GPU, half_batch=0.100))
    assert "The network is the limit" in verdict
    assert advice.startswith("--batch-size 512: 56%")
    assert "--lr" in advice
    assert not any("--batch-size 512" in words for words in advise(replace(GPU, half_batch=None)))


def test_an_update_that_takes_long():
    advice = advise(replace(GPU, compute=0.05, update=0.070))[1]
    assert advice.startswith("The update takes 55%") and "--batch-size" in advice
    assert "nccl" not in advice
    several = advise(replace(GPU, gpus=4, compute=0.05, update=0.070))[1]
    assert "gradients" in several and "--kv-store nccl" in several


def test_a_slow_link_to_the_device():
    advice = advise(replace(GPU, copy=0.040, compute=0.076))[1]
    assert advice.startswith("Copying batches to the device takes 31%") and "nvidia-smi" in advice
    assert "nvidia-smi" not in advise(replace(CPU, copy=0.2))[1]


def test_metrics_that_take_long():
    assert advise(replace(GPU, metric=0.02, compute=0.09))[1].startswith(
        "Computing the metrics takes 16%"
    )


SLOW_DATA = replace(GPU, threads=4, data_rate=640.0, together_rate=630.0, wait_share=0.68)


def test_too_few_decoding_threads():
    verdict, advice = advise(SLOW_DATA)[:2]
    assert verdict.startswith("Data loading is the limit: 640 images/s from 4 decoding threads")
    assert "2000" in verdict and "68.0%" in verdict
    assert advice.startswith("--data-nthreads 13: 13 decoding threads")


def test_too_few_processors_for_the_threads():
    advice = advise(replace(SLOW_DATA, processors=8))[1]
    assert advice.startswith("--data-nthreads 7: 13 decoding threads")
    # All are busy already.
    advice = advise(replace(SLOW_DATA, processors=5))[1]
    assert "more processors for each GPU" in advice and "decoding" in advice


def test_images_larger_than_needed():
    advice = advise(replace(SLOW_DATA, short_side=512.0))
    (line,) = [words for words in advice if "Pack at" in words]
    assert "python tools/im2rec.py ... --resize 256" in line
    assert "512 pixels" in line and "about 25%" in line
    assert not any("Pack at" in words for words in advise(SLOW_DATA))
    # Small networks take their crops from images of any size.
    small = replace(SLOW_DATA, crop_side=28, short_side=64.0)
    assert not any("Pack at" in words for words in advise(small))


def test_a_slow_disk():
    advice = advise(replace(SLOW_DATA, read=0.02, short_side=512.0))
    assert any("Reading is 79%" in words and "--shuffle-window" in words for words in advice)
    assert not any("Pack at" in words for words in advice)


def test_slow_augmentation():
    advice = advise(replace(SLOW_DATA, augment=0.02))
    assert any("Augmentation is 80%" in words and "warp" in words for words in advice)


def test_decoding_takes_processors_from_the_network():
    verdict, *advice = advise(replace(CPU, together_rate=18.0))
    assert "takes processors from the network" in verdict
    assert "25.0 images/s" in verdict and "18.0" in verdict
    assert any("OMP_NUM_THREADS" in words and "MXNet" not in words for words in advice)
    # More threads than needed.
    advice = advise(replace(CPU, threads=2, together_rate=18.0))
    assert advice[1].startswith("--data-nthreads 1: ")
    advice = advise(replace(CPU, short_side=500.0, together_rate=18.0))
    assert any("Pack at 256 pixels" in words for words in advice)


def test_gpu_decoding_is_advised_with_pytorch_on_gpus():
    from_large = replace(SLOW_DATA, decode=0.002)
    assert not any("--decode gpu" in line for line in advise(from_large))
    advice = advise(replace(from_large, can_decode=True))
    assert sum(line.startswith("--decode gpu: ") for line in advice) == 1
    slow_disk = replace(from_large, can_decode=True, read=0.004)
    assert not any("--decode gpu" in line for line in advise(slow_disk))


def test_data_loading_that_is_slow_only_during_training():
    verdict, *advice = advise(replace(CPU, together_rate=20.0, wait_share=0.2))
    assert (
        verdict.startswith("Data loading is fast enough alone (1000 images/s")
        and "20.0%" in verdict
    )
    assert advice[0].startswith("--data-nthreads 2: ")
    busy = advise(replace(GPU, threads=16, together_rate=1500.0, wait_share=0.2))
    assert len(busy) == 2 and "nvidia-smi" in busy[1]


def test_faster_with_data_than_without():
    assert "Measure again" in advise(replace(CPU, together_rate=40.0))[-1]
    assert not any("Measure again" in words for words in advise(CPU))


@pytest.mark.parametrize("wait", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("data", [1.0, 24.0, 1000.0])
@pytest.mark.parametrize("together", [0.5, 24.0, 30.0])
def test_there_is_always_a_verdict_with_advice(wait, data, together):
    for base in (CPU, replace(CPU, threads=2), replace(CPU, gpus=2)):
        lines = advise(replace(base, wait_share=wait, data_rate=data, together_rate=together))
        assert len(lines) >= 2 and all(words.endswith((".", ")")) for words in lines)
