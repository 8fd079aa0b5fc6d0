"""doctor --plan: hours and money of a training on ImageNet."""

import pytest
from conftest import one_line_failure

from imagenet_trainer import doctor
from imagenet_trainer.benchmarks import plan
from imagenet_trainer.engines import speeds
from imagenet_trainer.errors import InputError

SHAPE = (3, 224, 224)


def plans(network="resnet-50", devices=4, epochs=90, prices=None):
    prices = plan.read_prices() if prices is None else prices
    rows = plan.plans(network, SHAPE, devices, epochs, prices)
    return {(row.hardware, row.precision): row for row in rows}


def test_a_published_rate_is_taken_as_it_is():
    rows = plans()
    v100 = rows["4 x V100", "float32"]
    assert v100.images_per_second == 1513 and not v100.is_estimate
    assert v100.hours == pytest.approx(90 * 1_281_167 / 1513 / 3600)
    assert v100.usd == pytest.approx(v100.hours * 12.24) and v100.instance == "p3.8xlarge"
    # NVIDIA's page has 90 epochs in 21.4 hours, with validation.
    assert v100.hours == pytest.approx(21.4, rel=0.02)


def test_the_published_training_of_resnet_18_takes_three_days():
    k80 = plans("resnet-18", 4, 30)["4 x K80", "float32"]
    assert k80.hours == pytest.approx(72, rel=0.01) and not k80.is_estimate
    assert k80.instance == "p2.8xlarge"  # one machine


def test_other_networks_are_estimated_by_multiply_adds():
    fifty, eighteen = plans()["4 x A100", "mixed"], plans("resnet-18")["4 x A100", "mixed"]
    ratio = plan.multiply_adds("resnet-50", 224) / plan.multiply_adds("resnet-18", 224)
    assert eighteen.images_per_second == pytest.approx(ratio * fifty.images_per_second)
    assert eighteen.is_estimate and eighteen.source.startswith("estimated")


def test_the_estimate_is_compared_with_all_published_rates_of_other_networks():
    ratios = {
        (rate.network, rate.hardware): rate.images_per_second / estimate
        for rate, estimate in plan.estimates()
    }
    others = [rate for rate in plan.published_rates() if rate.network != "resnet-50"]
    assert len(ratios) == len(others) == 7
    assert min(ratios.values()) > 0.3 and max(ratios.values()) < 1.8
    assert ratios["inception-v3", "V100"] == pytest.approx(0.92, abs=0.01)


def test_other_numbers_of_gpus_scale_as_published():
    two, sixteen = plans(devices=2), plans(devices=16)
    assert 1376 * 1.9 < two["2 x V100", "mixed"].images_per_second < 1376 * 2
    h100 = sixteen["16 x H100", "mixed"]
    assert h100.images_per_second == 2 * 56_000 and h100.instance == "2 x p5.48xlarge"


def test_every_rate_and_price_has_its_source():
    assert all(len(rate.source) > 20 for rate in plan.published_rates())
    for offers in plan.read_prices().values():
        assert all(offer.seen and offer.source for offer in offers)


def test_measurements_of_this_machine_come_last(monkeypatch, capsys):
    found = speeds.Measured("2026-01-02", {("mxnet", "float32"): 2.0})
    monkeypatch.setattr(speeds, "measured", lambda network, shape: found)
    plans_ = doctor(plan="resnet-50", gpus=1, num_epochs=1).plans
    assert [(one.hardware, one.hours) for one in plans_[:2]] == [
        (one.hardware, one.hours) for one in list(plans("resnet-50", 1, 1).values())[:2]
    ]
    capsys.readouterr()
    assert doctor.main(["--plan", "resnet-50", "--gpus", "1", "--num-epochs", "1"]) == 0
    output = capsys.readouterr().out
    assert "this machine" in output and "doctor --measure, 2026-01-02" in output
    row = plans()["this machine", "float32 (mxnet)"]
    assert row.images_per_second == 32 and row.usd is None


def test_own_prices(tmp_path, capsys):
    file = tmp_path / "my prices.csv"
    file.write_text("hardware,devices,instance,usd_per_hour,seen,source\nA100,2,ours,3,2026,us\n")
    words = ["--plan", "resnet-50", "--gpus", "4", "--prices", str(file)]
    assert doctor.main(words) == 0
    output = capsys.readouterr().out
    assert "2 x ours" in output and "p3.8xlarge" not in output
    assert plans(prices=plan.read_prices(str(file)))["4 x V100", "mixed"].usd is None


@pytest.mark.parametrize(
    "words, named",
    [
        (["--plan", "resnet-51"], "--plan"),
        (["--plan", "resnet-50", "--prices", "missing.csv"], "missing.csv"),
        (["--gpus", "4"], "--gpus: is for --plan"),
        (["--image-shape", "3,64,64"], "--image-shape: is for --measure or --plan"),
        (["--plan", "resnet-50", "--measure"], "--measure: does not go with --plan"),
    ],
)
def test_mistakes(words, named, capsys):
    assert named in one_line_failure(doctor.main, "doctor", capsys)(*words)


COLUMNS = "hardware,devices,instance,usd_per_hour,seen,source\n"


@pytest.mark.parametrize(
    "text, named",
    [
        (f"{COLUMNS}\nA100,2,ours,free,2026,us\n", "line 3: is not a price"),
        (f"{COLUMNS}A100,2,ours,3,2026,us\nA100,2,ours,3\n", "line 3: is not a price"),
        ("devices,instance,usd_per_hour,seen,source\n2,ours,3,2026,us\n", "line 2: is not"),
        (f"{COLUMNS}a100,2,ours,3,2026,us\n", "line 2: hardware a100: "),
        (COLUMNS, "has no prices"),
    ],
)
def test_mistakes_in_prices(text, named, tmp_path, capsys):
    file = tmp_path / "prices.csv"
    file.write_text(text)
    fails = one_line_failure(doctor.main, "doctor", capsys)
    assert f"--prices {file}: {named}" in fails("--plan", "resnet-50", "--prices", str(file))


def test_no_number_of_gpus():
    with pytest.raises(InputError, match="--gpus: '': must be"):
        doctor(plan="resnet-50", gpus=())
