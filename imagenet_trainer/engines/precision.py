"""Casts to 16 bits around the operators that gain by them; parameters stay in 32."""

from typing import Sequence

from imagenet_trainer.errors import InputError
from imagenet_trainer.machine import has_bfloat16
from imagenet_trainer.mxnet_import import mixed_precision, mx


def in_16_bits(symbol: "mx.sym.Symbol", dtype: str, gpus: Sequence[int]) -> "mx.sym.Symbol":
    """Casts around the operators that gain by float16 or bfloat16; parameters stay float32.

    Raises InputError for float16 on CPUs, and for bfloat16 on GPUs and on CPUs without
    instructions for it.
    """
    if dtype == "float16" and not gpus:
        raise InputError(
            "--dtype float16: MXNet has no float16 matrix product for CPUs; use --gpus, or "
            "--dtype bfloat16 on a CPU that has it"
        )
    if dtype == "bfloat16" and gpus:
        raise InputError("--dtype bfloat16: is for CPUs; with --gpus use --dtype float16")
    if dtype == "bfloat16" and not has_bfloat16():
        raise InputError(
            "--dtype bfloat16: this CPU has no instructions for it (avx512_bf16 or amx_bf16), it "
            "would be slower than float32; leave it away"
        )
    converted = mixed_precision().convert_symbol(symbol, target_dtype=dtype)
    nodes = converted.get_internals()
    for name in (*converted.list_arguments(), *converted.list_auxiliary_states()):
        if name != "data":
            nodes[name]._set_attr(__dtype__="0")  # float32, which the casts leave open
    return converted
