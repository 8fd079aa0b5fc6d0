"""Names of layers, as the state dicts of torchvision and timm and Gluon's files write them."""

from imagenet_trainer.convert import layer_names as names


def test_units_become_blocks_of_stages():
    ours = ["conv0", "stage1_unit1_conv1", "stage1_unit1_sc_bn", "stage4_unit12_bn3", "fc1"]
    assert names.TORCH_RESNET(ours) == [
        "conv1", "layer1.0.conv1", "layer1.0.downsample.1", "layer4.11.bn3", "fc",
    ]  # fmt: skip
    assert names.GLUON_RESNET(ours[:3]) == [
        "features.0", "features.4.0.body.0", "features.4.0.downsample.1",
    ]  # fmt: skip


def test_positions_of_a_sequence_count_rectifiers_and_poolings():
    ours = ["conv1_1", "conv2_1", "conv2_2", "fc6", "fc7", "fc8"]
    assert names.vgg(names.TORCHVISION)(ours) == [
        "features.0", "features.3", "features.5", "classifier.0", "classifier.3", "classifier.6",
    ]  # fmt: skip
    with_bn = ["conv1_1", "bn1_1", "conv2_1", "bn2_1"]
    found = names.vgg(names.TIMM)(with_bn)
    assert found[:4] == ["features.0", "features.1", "features.4", "features.5"]


def test_first_stage_of_efficientnet_does_not_expand():
    ours = ["block1_unit1_dw", "block1_unit1_project_bn", "block2_unit1_project_bn"]
    assert names.TIMM_EFFICIENTNET(ours) == [
        "blocks.0.0.conv_dw", "blocks.0.0.bn2", "blocks.1.0.bn3",
    ]  # fmt: skip
