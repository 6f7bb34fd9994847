"""One reader for every table: whatever a spreadsheet or an archive made of it."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mri2pet.errors import InputError
from mri2pet.tables import number, read_table, write_tsv

ROWS = [
    {"participant_id": "sub-01", "diagnosis": "CN", "site": "München"},
    {"participant_id": "sub-02", "diagnosis": "", "site": "Paris"},
]
TEXT = "participant_id\tdiagnosis\tsite\nsub-01\tCN\tMünchen\nsub-02\tn/a\tParis\n"


def read(folder, content: bytes):
    path = folder / "table.tsv"
    path.write_bytes(content)
    return read_table(path)


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
)
@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_encoding_separator_and_line_ends_change_nothing(tmp_path, encoding, separator, end):
    text = TEXT.replace("\t", separator).replace("\n", end)
    assert read(tmp_path, text.encode(encoding)) == ROWS


def test_utf16_in_the_other_byte_order_is_known_by_its_mark(tmp_path):
    assert read(tmp_path, b"\xfe\xff" + TEXT.encode("utf-16-be")) == ROWS


def test_bytes_that_windows_1252_lacks_are_latin_1(tmp_path):
    assert read(tmp_path, b"a\tb\n1\t\x81\xfc\n") == [{"a": "1", "b": "\x81ü"}]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('"a";"b, c"\n1;2\n', [{"a": "1", "b, c": "2"}]),
        ('a,"b;c;d"\n1,2\n', [{"a": "1", "b;c;d": "2"}]),
        ('"a\tb",c\n1,2\n', [{"a\tb": "1", "c": "2"}]),
        ("a, b\tc\n1\t2\n", [{"a, b": "1", "c": "2"}]),
        ("a;b,c\n1,5;2\n1;2\n", [{"a": "1,5", "b,c": "2"}, {"a": "1", "b,c": "2"}]),
        ("a;b,c\n1,5\n2;3,6\n4,7\n", [{"a;b": n, "c": m} for n, m in ("15", ("2;3", "6"), "47")]),
        ("sep=;\na;b\n1;2\n", [{"a": "1", "b": "2"}]),
        ("a\n1\n", [{"a": "1"}]),
        ('a,b\n"x\ny",2\n', [{"a": "x\ny", "b": "2"}]),
        ('a\tb\n"lone\t2\n', [{"a": '"lone', "b": "2"}]),
        ("a\tb\t\t\n1\t2\t\t\n", [{"a": "1", "b": "2"}]),
        ("\n\na\tb\n\n1\n", [{"a": "1", "b": ""}]),
        ("a\tb\n1\t2\t\t\n", [{"a": "1", "b": "2"}]),
        (" a \tb\n N/A\t 2 \n", [{"a": "", "b": "2"}]),
        ("a\tb\n", []),
        ("", []),
        ("a,b\n1,2\n\x1a", [{"a": "1", "b": "2"}]),
    ],
)
def test_what_spreadsheets_write(tmp_path, text, rows):
    assert read(tmp_path, text.encode()) == rows


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\tb\n1\t2\n3\t4\t5\n", "line 3 has 3 cells, the header has 2"),
        (b"\n\na\tb\n1\t2\n\n3\t4\t5\n", "line 6 has"),
        (b'sep=,\na,b\n"1\n1",2\n3,4,5\n', "line 5 has"),
        (b"a\tb\ta\n1\t2\t3\n", "the column 'a' twice"),
        (b'a,b\n"1,2\n', "a quote is not closed"),
        (b"\x1f\x8b\x08\x00\x01\x02\x03", "binary"),
        (b"PK\x03\x04\x14\x00\x06\x00", "spreadsheet"),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "binary"),
        (b"\xff\xfea\x00\t\x00b\x00\n", "goes on as something else"),
        (b"<!DOCTYPE html>\n<html></html>\n", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"/annex/objects/MD5E-s2--c3.tsv\n", "datalad get"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(tmp_path, content, reason):
    with pytest.raises(InputError, match=reason) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'table.tsv'}: ")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    assert read_table(tmp_path / "absent.tsv") == []
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path)
    (tmp_path / "link.tsv").symlink_to(".git/annex/objects/x")
    with pytest.raises(InputError, match="datalad get"):
        read_table(tmp_path / "link.tsv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text(TEXT)
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        read_table(path)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_a_table_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.tsv"
    path.write_bytes(content)
    try:
        rows = read_table(path)
    except InputError:
        return
    assert all(isinstance(cell, str) for row in rows for cell in row.values())


def test_what_is_written_reads_back(tmp_path):
    path = tmp_path / "table.tsv"
    write_tsv(path, ("a", "b", "c"), [{"a": 'x "y" z', "b": None, "c": 0.5}, {"a": '"q', "b": 1}])
    assert read_table(path) == [
        {"a": 'x "y" z', "b": "", "c": "0.5"},
        {"a": '"q', "b": "1", "c": ""},
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("28", 28), ("28.5", 28.5), ("28,5", 28.5), ("-1,25", -1.25), ("1,234", None),
        ("1,2345", 1.2345), ("", None), (None, None), ("nan", None), ("inf", None), ("x", None),
    ],
)  # fmt: skip
def test_numbers(text, value):
    assert number(text) == value
