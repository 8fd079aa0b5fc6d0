from conftest import needs_mxnet

from imagenet_trainer.engines.mxnet.reference import image_record_reader

pytestmark = needs_mxnet


def test_mxnets_reader_reads_every_image_of_a_shard(packed):
    read = image_record_reader(str(packed / "train.rec"), side=16, batch=5, threads=1)
    assert read() == 60
