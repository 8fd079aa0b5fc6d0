"""ViT-S/16, the small vision transformer.

Alexey Dosovitskiy et al.: "An Image is Worth 16x16 Words: Transformers for Image Recognition at
Scale", arXiv:2010.11929, 2021 (section 3.1, figure 1). The small size is that of Hugo Touvron et
al.: "Training data-efficient image transformers & distillation through attention",
arXiv:2012.12877, 2021 (table 1, DeiT-S).

It computes the same as timm's `vit_small_patch16_224`. 22,050,664 learned parameters at 1,000
classes. Position embeddings belong to an image size, so parameters fit one size only.
"""

import json
from typing import Tuple

from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.families import VIT
from imagenet_trainer.symbols.layers import classifier, convolution, scaled

PATCH, CHANNELS, HEADS, BLOCKS = 16, 384, 6, 12


def get_symbol(num_classes: int, image_shape: Tuple[int, ...]) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for 224 pixels."""
    _, height, width = image_shape
    if height % PATCH or width % PATCH:
        raise ArgumentError(
            "image_shape", ",".join(map(str, image_shape)),
            f"ViT-S/16 divides images into patches of {PATCH} pixels; use a multiple of them",
        )  # fmt: skip
    patches = height // PATCH * (width // PATCH)
    x = sym.var("data")  # 3, 224, 224
    x = convolution(x, "conv0", CHANNELS, PATCH, stride=PATCH, pad=0, bias=True)  # 384, 14, 14
    x = sym.Reshape(x, shape=(0, 0, -1), name="patches")  # 384, 196
    x = sym.transpose(x, axes=(0, 2, 1), name="rows")  # 196, 384
    token = sym.var("cls_token", shape=(1, 1, CHANNELS), init=initial("cls_token"))
    first = sym.slice_axis(x, axis=1, begin=0, end=1, name="first")  # 1, 384
    token = sym.broadcast_like(token, first, name="class_token")  # one for each image
    x = sym.Concat(token, x, dim=1, name="tokens")  # 197, 384
    places = sym.var("pos_embed", shape=(1, patches + 1, CHANNELS), init=initial("pos_embed"))
    x = sym.broadcast_add(x, places, name="positions")
    for block in range(1, BLOCKS + 1):
        x = attention(x, f"block{block}")
        x = perceptron(x, f"block{block}")
    x = layer_norm(x, "ln0")
    x = sym.slice_axis(x, axis=1, begin=0, end=1, name="class")  # 1, 384
    return classifier(sym.Flatten(x, name="flatten0"), num_classes)  # num_classes


def initial(embedding: str) -> str:
    """The initial values of an embedding, as MXNet writes them."""
    rule = VIT["except"].get(embedding, VIT)
    return json.dumps([rule["name"], {"sigma": rule["sigma"]}])


def attention(x: sym.Symbol, name: str) -> sym.Symbol:
    """Multi-head self-attention of normalised tokens, plus the input; (tokens, 384)."""
    size = CHANNELS // HEADS
    y = dense(layer_norm(x, f"{name}_ln1"), f"{name}_qkv", 3 * CHANNELS)  # tokens, 1152
    y = sym.Reshape(y, shape=(0, 0, 3 * HEADS, size), name=f"{name}_split")  # tokens, 18, 64
    y = sym.transpose(y, axes=(0, 2, 1, 3), name=f"{name}_heads")  # 18, tokens, 64
    query, key, value = (
        sym.Reshape(
            sym.slice_axis(y, axis=1, begin=n * HEADS, end=(n + 1) * HEADS, name=f"{name}_{part}"),
            shape=(-3, 0, 0), name=f"{name}_{part}s",
        )
        for n, part in enumerate(("query", "key", "value"))
    )  # batch x 6, tokens, 64, without the axis of the batch  # fmt: skip
    logits = sym.batch_dot(query, key, transpose_b=True, name=f"{name}_products")
    weights = sym.softmax(
        scaled(logits, size**-0.5, f"{name}_scaled"), axis=-1, name=f"{name}_weights"
    )
    y = sym.batch_dot(weights, value, name=f"{name}_means")  # batch x 6, tokens, 64
    y = sym.Reshape(y, shape=(-4, -1, HEADS, 0, 0), name=f"{name}_images")  # 6, tokens, 64
    y = sym.transpose(y, axes=(0, 2, 1, 3), name=f"{name}_tokens")  # tokens, 6, 64
    y = sym.Reshape(y, shape=(0, 0, -3), name=f"{name}_joined")  # tokens, 384
    return sym.elemwise_add(dense(y, f"{name}_proj", CHANNELS), x, name=f"{name}_plus1")


def perceptron(x: sym.Symbol, name: str) -> sym.Symbol:
    """Two layers for each normalised token, plus the input; (tokens, 384)."""
    y = dense(layer_norm(x, f"{name}_ln2"), f"{name}_fc1", 4 * CHANNELS)  # tokens, 1536
    y = sym.LeakyReLU(y, act_type="gelu", name=f"{name}_gelu")
    return sym.elemwise_add(dense(y, f"{name}_fc2", CHANNELS), x, name=f"{name}_plus2")


def dense(x: sym.Symbol, name: str, units: int) -> sym.Symbol:
    """A dense layer of each token; (tokens, units)."""
    return sym.FullyConnected(x, num_hidden=units, flatten=False, name=name)


def layer_norm(x: sym.Symbol, name: str) -> sym.Symbol:
    """LayerNorm over the channels of each token."""
    return sym.LayerNorm(x, axis=-1, eps=1e-6, name=name)
