"""Parquet files of tables, written with pyarrow, which is optional."""

from typing import Any, Mapping, Sequence

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, atomic_write
from imagenet_trainer.system.wheels import pip_install


def library(flag: str = "parquet") -> Any:
    """The module `pyarrow.parquet`; InputError with the command that installs it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"{flag}: needs pyarrow ({error}); {pip_install('parquet')}") from error
    return pyarrow.parquet


def write_table(path: AnyPath, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns by name; values of a column are all int, all float or all str, or None.

    A column without values is one of floats. Raises InputError without pyarrow.
    """
    write = library().write_table
    import pyarrow as pa

    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    arrays = {}
    for name, values in columns.items():
        kind = next((type(value) for value in values if value is not None), float)
        arrays[name] = pa.array(list(values), kinds[kind])
    with atomic_write(path) as file:
        write(pa.table(arrays), file)
