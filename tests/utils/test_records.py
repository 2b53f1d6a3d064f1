"""Records with checksums: what was written comes back, and nothing else does."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapae.errors import OutputError
from shapae.utils.records import plain, read_record, to_json, write_record

NUMBERS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(codec=None))  # also halves of surrogate pairs
RECORDS = st.dictionaries(
    TEXT.filter(lambda name: name not in {"format", "written_by", "files", "checksum"}),
    st.recursive(NUMBERS | TEXT, lambda each: st.lists(each) | st.dictionaries(TEXT, each), max_leaves=8),
)


def files(folder, text="numbers"):
    (folder / "arrays").write_text(text)
    return {"format": 2, "files": ["arrays"]}


@given(record=RECORDS)
def test_any_record_comes_back(tmp_path_factory, record):
    folder = tmp_path_factory.mktemp("record")
    write_record(folder / "record", record, **files(folder))
    assert read_record(folder / "record", format=2, files=["arrays"]) == record | {"format": 2}


@given(record=RECORDS)
def test_plain_text_and_numbers_stay_as_they_are(record):
    assert plain(record) == record
    assert json.loads(to_json(record)) == record


def test_the_checksums_are_those_of_the_files(tmp_path):
    write_record(tmp_path / "record", {"a": 1}, **files(tmp_path))
    text = (tmp_path / "record").read_text()
    written = json.loads(text)
    assert written["files"] == {"arrays": hashlib.sha256(b"numbers").hexdigest()}
    blank = text.replace(written["checksum"], "0" * 64)
    assert written["checksum"] == hashlib.sha256(blank.encode()).hexdigest()


def test_every_single_bit_counts(tmp_path):
    write_record(tmp_path / "record", {"a": [1.5, "é", None], "b": {"c": True}}, **files(tmp_path))
    for path in (tmp_path / "record", tmp_path / "arrays"):
        data = path.read_bytes()
        for bit in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            with pytest.raises(OutputError, match="damaged|was written by|is not a record"):
                read_record(tmp_path / "record", format=2, files=["arrays"])
        path.write_bytes(data)
    assert read_record(tmp_path / "record", format=2, files=["arrays"])["b"] == {"c": True}


def test_an_object_is_refused_with_its_place():
    with pytest.raises(OutputError, match=r"settings\['groups'\]\[1\] is a object, which can't be written"):
        plain({"groups": [1, object()]}, None, "settings")


def test_numbers_of_numpy_are_those_of_python():
    given = {"a": np.float32(0.1), "b": np.array([1, 2], np.uint8), "c": np.bool_(False), "d": np.array(np.nan)}
    assert plain(given) == {"a": float(np.float32(0.1)), "b": [1, 2], "c": False, "d": "nan"}
