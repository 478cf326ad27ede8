"""Tables and arrays that an analysis goes on with: what was written, or not read; a lie about size costs no memory."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jacoscope.analysis.arrays import DAMAGED, JacobianStore, as_npz, holds_arrays, read_arrays
from jacoscope.analysis.history import SCHEMA as HISTORY_SCHEMA
from jacoscope.analysis.tables import arrow_schema, as_parquet, columns, holds_table

from .damage import Evil
from .test_fuzz import MEGABYTE, peak_of

SCHEMA = arrow_schema(columns(3, 3, "logits"))
ROWS = 12_345
ARRAYS = {"count": torch.arange(3), "own": torch.rand(3, 1, 8, 8, dtype=torch.float64)}
SHAPES = {"count": (3,), "own": (3, 1, 8, 8)}


def table_of(rows: int) -> pa.Table:
    generator = np.random.default_rng(0)
    made = []
    for field in SCHEMA:
        length = int(field.metadata[b"entries"])
        values = pa.array(generator.integers(0, 2, rows * length))
        inner = field.type.value_type if length > 1 else field.type
        flat = pa.array(np.arange(rows)) if field.name == "index" else values.cast(inner)
        made.append(pa.ListArray.from_arrays(np.arange(rows + 1) * length, flat) if length > 1 else flat)
    return pa.table(made, schema=SCHEMA)


def exactly(rows: int) -> range:
    return range(rows, rows + 1)


def packed(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def as_counted_in_parquet(rows: int) -> bytes:
    """Give a number as it stands in a footer: Thrift's zigzag, seven bits a byte."""
    digits, number = [], 2 * rows
    while number >= 128:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes([*digits, number])


WHOLE = as_parquet(table_of(ROWS))
SMALL = as_parquet(table_of(20))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(WHOLE)
    assert holds_table(tmp_path / "a", SCHEMA, exactly(ROWS))
    (tmp_path / "b").write_bytes(as_npz(ARRAYS))
    assert holds_arrays(tmp_path / "b", SHAPES)
    assert {name: array.tolist() for name, array in read_arrays(tmp_path / "b").items()} == {
        name: array.tolist() for name, array in ARRAYS.items()
    }


def long_text() -> bytes:
    row = dict.fromkeys(HISTORY_SCHEMA.names, 1) | {"checkpoint": "a" * 10**8, "strategy": "auto"}
    return packed(pa.Table.from_pylist([row], HISTORY_SCHEMA), use_dictionary=False, compression="zstd")


def uneven_lists() -> bytes:
    """Lists of two and four logits in turn, so that together there are as many as with three."""
    place = SCHEMA.get_field_index("logits")
    lists = pa.array([[1.0] * (2 + 2 * (row % 2)) for row in range(20)], SCHEMA.field(place).type)
    return packed(table_of(20).set_column(place, SCHEMA.field(place), lists), use_dictionary=False)


LYING_TABLES: dict[str, tuple[pa.Schema, int, Callable[[], bytes]]] = {
    "a million rows told of": (
        SCHEMA,
        1_000_000,
        lambda: WHOLE.replace(*map(as_counted_in_parquet, (ROWS, 1_000_000))),
    ),
    "a million rows that fit in a page": (
        SCHEMA,
        20,
        lambda: packed(table_of(1).take(pa.array(np.zeros(10**6, np.int64))), compression="zstd"),
    ),
    "dictionaries": (SCHEMA, 20, lambda: packed(table_of(20), use_dictionary=True)),
    "lists of other lengths": (SCHEMA, 20, uneven_lists),
    "one column less": (SCHEMA, 20, lambda: packed(table_of(20).drop_columns("label"))),
    "another type": (SCHEMA, 20, lambda: packed(pa.table({field.name: pa.array([b"x" * 9] * 20) for field in SCHEMA}))),
    "texts of 100 megabytes": (HISTORY_SCHEMA, 1, long_text),
}


@pytest.mark.parametrize("lie", LYING_TABLES)
def test_a_table_that_lies_about_its_size_is_not_read(lie: str, tmp_path: Path) -> None:
    schema, rows, content = LYING_TABLES[lie]
    (tmp_path / "lie").write_bytes(content())
    (tmp_path / "whole").write_bytes(SMALL)
    holds_table(tmp_path / "whole", SCHEMA, exactly(20))  # what is imported on the way is not held against the lie
    with peak_of() as peak:
        assert not holds_table(tmp_path / "lie", schema, exactly(rows))
    assert peak() < 64 * MEGABYTE


def npz_of(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": dtype, "fortran_order": False, "shape": shape})
    return zipped("own.npy", array.getvalue() + bytes(64))


def zipped(name: str, content: bytes, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def evil() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, own=np.array([Evil()], dtype=object))
    return buffer.getvalue()


LYING_ARRAYS: dict[str, Callable[[], bytes]] = {
    "10**12 numbers": lambda: npz_of((10**6, 10**6)),
    "a billion numbers": lambda: npz_of((10**9,)),
    "sizes whose product leaves 64 bits": lambda: npz_of((2**40, 2**40)),
    "zeros, packed": lambda: zipped("own.npy", bytes(100 * MEGABYTE), compressed=True),
    "code": evil,
    "nothing": lambda: b"",
    "no archive": lambda: b"PK\x03\x04" + bytes(30),
    "cut short": lambda: as_npz(ARRAYS)[:-100],
    "a byte changed": lambda: as_npz(ARRAYS).replace(ARRAYS["own"].numpy().tobytes()[:8], b"\1\2\3\4\5\6\7\x08"),
}


@pytest.mark.parametrize("lie", LYING_ARRAYS)
def test_arrays_that_lie_are_not_read(lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where code would leave its trace
    path = tmp_path / "lie"
    path.write_bytes(LYING_ARRAYS[lie]())
    with peak_of() as peak, pytest.raises(DAMAGED):
        read_arrays(path)
    assert peak() < 64 * MEGABYTE
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_of_other_names_shapes_and_kinds_are_not_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes(npz_of((1,), "<U16"))
    assert not holds_arrays(tmp_path / "texts", {"own": (1,)})
    (tmp_path / "other").write_bytes(as_npz({**ARRAYS, "own": ARRAYS["own"][1:]}))
    assert not holds_arrays(tmp_path / "other", SHAPES)
    (tmp_path / "less").write_bytes(as_npz({"own": ARRAYS["own"]}))
    assert not holds_arrays(tmp_path / "less", SHAPES)


@settings(max_examples=100)
@given(start=st.integers(0, len(SMALL) - 1), put=st.binary(max_size=8), cut=st.booleans())
def test_whatever_is_changed_in_a_table_it_is_the_same_or_not_read(
    tmp_path_factory: pytest.TempPathFactory, start: int, put: bytes, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.parquet"
    path.write_bytes(SMALL[:start] + put + (b"" if cut else SMALL[start + len(put) :]))
    if holds_table(path, SCHEMA, exactly(20)):
        assert pq.read_table(path).equals(pq.read_table(io.BytesIO(SMALL)))


DIRECTORY = as_npz(ARRAYS).rfind(b"PK\1\2")  # the last entry of the archive's table of contents


@settings(max_examples=100)
@given(start=st.integers(0, 2000), put=st.binary(max_size=8))
@example(start=DIRECTORY + 6, put=b"@")  # an unknown version of the format
@example(start=DIRECTORY + 8, put=b"\1")  # encrypted
def test_whatever_is_changed_in_arrays_they_are_the_same_or_not_read(
    tmp_path_factory: pytest.TempPathFactory, start: int, put: bytes
) -> None:
    path, whole = tmp_path_factory.getbasetemp() / "changed.npz", as_npz(ARRAYS)
    path.write_bytes(whole[:start] + put + whole[start + len(put) :])
    try:
        found = read_arrays(path)
    except DAMAGED:
        return
    if found.keys() == ARRAYS.keys():
        assert all(np.array_equal(found[name], ARRAYS[name].numpy()) for name in ARRAYS)


def test_an_array_of_jacobians_is_gone_on_with_only_as_it_was_created(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    store = JacobianStore(tmp_path / "J.zarr", (27, 3, 1, 8, 8), "float32", 8, {"output": "logits"})
    assert not store.is_as_created()
    store.create()
    assert store.is_as_created()
    about = json.loads((store.path / "zarr.json").read_text())
    lies: list[Any] = [{**about, "shape": [10**12, 3, 1, 8, 8]}, {**about, "data_type": "float64"}, [], {}]
    lies.append({**about, "codecs": [{"name": "numcodecs.pickle"}]})
    for lie in lies:
        (store.path / "zarr.json").write_text(json.dumps(lie))
        assert not store.is_as_created()
    store.create()
    store.write(24, torch.ones(3, 3, 1, 8, 8))
    (piece,) = (path for path in (store.path / "c" / "3").rglob("*") if path.is_file())
    piece.write_bytes(b"what another start has left")
    store.write(24, torch.ones(3, 3, 1, 8, 8))
    assert (zarr.open_array(store.path, mode="r")[24:] == 1).all()
