"""Campaign files, byte by byte: the rows, their faults, and where reading goes on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lambdas.quiet_hours.errors import UnreadableFile
from lambdas.quiet_hours.files import lines as lines_module
from lambdas.quiet_hours.files.csv_rows import ROW_LINES_MAX
from lambdas.quiet_hours.files.lines import LINE_BYTES_MAX
from lambdas.quiet_hours.files.rows import COLUMNS, Row, rows

HEADER = "channel,address,body\n"


def reader(data: bytes, chunk_bytes: int = 1 << 30) -> Callable[[int], bytes]:
    """Give at most `chunk_bytes` at once, as a socket may."""
    stream = io.BytesIO(data)
    return lambda size: stream.read(min(size, chunk_bytes))


def read(data: str | bytes, name: str = "a.csv", chunk_bytes: int = 1 << 30) -> list[Row]:
    encoded = data.encode() if isinstance(data, str) else data
    return list(rows(name, reader(encoded, chunk_bytes))[0])


def errors(found: list[Row]) -> list[tuple[int, list[str]]]:
    return [(row.line, row.errors) for row in found if row.errors]


# --- CSV


def test_every_column_has_its_place_and_an_empty_field_says_nothing() -> None:
    names = [*COLUMNS, "variables.name", "variables.order no", "metadata.campaign"]
    values = [f"v{n}" for n in range(len(names))]
    first, second = read(",".join(names) + "\n" + ",".join(values) + "\nsms,010" + "," * (len(names) - 2))
    place = dict(zip(names, values, strict=True))
    assert first.candidate == {
        **{name: place[name] for name in COLUMNS if name not in ("title", "body", "template")},
        "content": {
            **{name: place[name] for name in ("title", "body", "template")},
            "variables": {"name": place["variables.name"], "order no": place["variables.order no"]},
        },
        "metadata": {"campaign": place["metadata.campaign"]},
    }
    assert second.candidate == {"channel": "sms", "address": "010"}


def test_commas_line_breaks_and_quotation_marks_stand_between_quotation_marks() -> None:
    found = read(HEADER + 'sms,1,"a, ""b""\r\nc"\r\nsms,2,d\r\n')
    assert [row.candidate["content"]["body"] for row in found] == ['a, "b"\nc', "d"]
    assert [(row.line, row.next_line) for row in found] == [(2, 4), (4, 5)]


def test_a_byte_order_mark_is_no_part_of_the_first_columns_name() -> None:
    for chunk_bytes in (1, 2, 3, 100):
        assert read(b"\xef\xbb\xbf" + (HEADER + "sms,1,가\n").encode(), chunk_bytes=chunk_bytes)[0].candidate == {
            "channel": "sms",
            "address": "1",
            "content": {"body": "가"},
        }


def test_lines_without_anything_in_them_are_no_rows() -> None:
    found = read(HEADER + "\r\n,,\nsms,1,a\n\n")
    assert [row.line for row in found] == [4]


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_the_last_line_may_end_in_nothing(ending: str) -> None:
    assert len(read(HEADER + "sms,1,a" + ending)) == 1


def test_a_row_with_too_few_or_too_many_fields_is_wrong_and_its_neighbours_are_not() -> None:
    found = read(HEADER + "sms,1,a\nsms,1\nsms,1,a,b\nsms,1,a\n")
    assert errors(found) == [
        (3, ["row: has 2 fields where the first line names 3 columns"]),
        (4, ["row: has 4 fields where the first line names 3 columns"]),
    ]
    assert len(found) == 4


def test_a_quotation_that_is_never_closed_takes_only_its_own_line() -> None:
    found = read(HEADER + 'sms,1,"a\n' + "sms,2,b\n" * 300)
    assert errors(found) == [(2, [f"row: a quotation mark is opened and not closed within {ROW_LINES_MAX} lines"])]
    assert len(found) == 301
    assert [row.line for row in found] == list(range(2, 303))


def test_two_quotations_that_are_never_closed_do_not_make_one_row_of_what_is_between_them() -> None:
    found = read(HEADER + 'sms,1,"a\nsms,2,b\nsms,3,"c\nsms,4,d\n')
    assert [line for line, _ in errors(found)] == [2, 4]
    assert [row.candidate["address"] for row in found if not row.errors] == ["2", "4"]


def test_a_row_of_several_lines_with_the_wrong_number_of_fields_says_where_it_ends() -> None:
    found = read(HEADER + '"sms,1,a\nx\ny,3"\nsms,4,d\n')
    fault = "row: has 1 fields where the first line names 3 columns; by its quotation marks it goes on to line 4"
    assert errors(found)[0] == (2, [fault])
    assert [line for line, _ in errors(found)] == [2, 3, 4]
    assert [row.candidate["address"] for row in found if not row.errors] == ["4"]


def test_a_quotation_mark_within_a_field_that_has_none_around_it_is_a_character() -> None:
    assert read(HEADER + 'sms,1,5" pipe\n')[0].candidate["content"]["body"] == '5" pipe'


def test_what_is_no_csv_says_how_it_would_be() -> None:
    (row,) = read(HEADER + 'sms,1,"a"b"\n' + "")[:1]
    assert row.errors
    assert errors(read(HEADER + 'sms,"1" x,"a"\n')) == [
        (2, ["row: is not CSV; a field with a quotation mark must stand in quotation marks, with that one doubled"])
    ]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("", "the file is empty"),
        ("\n", "allowed are channel,"),
        (
            "channel|address|body\n",
            "(a name of 20 characters) is not a column (is that line missing, or are its fields separ",
        ),
        ("channel,address,phone\n", "phone is not a column"),
        ("channel,address,variables.\n", "(a name of 10 characters) is not a column"),
        ("channel,address,body,body\n", "names body twice"),
        ("channel,body\n", "lacks the column address"),
        ("010-1234-5678,안녕\n", "(a name of 13 characters) is not a column"),
    ],
)
def test_a_first_line_that_does_not_name_the_columns_is_the_files_fault(header: str, says: str) -> None:
    with pytest.raises(UnreadableFile) as raised:
        read(header + "sms,1,a\n" if header else "")
    assert says in str(raised.value)


# --- encodings


def test_a_line_that_is_not_utf_8_is_wrong_and_says_where_and_what_to_do() -> None:
    found = read(HEADER.encode() + "sms,1,가\n".encode("cp949") + "sms,2,가\n".encode())
    assert errors(found) == [
        (2, ["row: is not UTF-8 (byte 7); save the file as UTF-8 (in Excel: CSV UTF-8)"]),
    ]
    assert found[0].text == "sms,1,\\xb0\\xa1"
    assert found[1].candidate["content"]["body"] == "가"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_utf_16_is_refused_as_a_whole(encoding: str, name: str) -> None:
    with pytest.raises(UnreadableFile, match="is UTF-16: save it as UTF-8"):
        read(("\ufeff" + HEADER).encode(encoding), name)


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(UnreadableFile, match=r"must end in \.csv or \.jsonl"):
        read(HEADER, "list.xlsx")


# --- JSON Lines


def test_a_line_of_json_is_a_candidate_as_it_stands() -> None:
    given = {"channel": "sms", "address": "1", "content": {"body": "가"}, "metadata": {"n": 1}}
    found = read(f"\ufeff{json.dumps(given)}\r\n\r\n{json.dumps(given, ensure_ascii=False)}", "a.JSONL")
    assert [row.candidate for row in found] == [given, given]
    assert [row.line for row in found] == [1, 3]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "row: not JSON"),
        ('{"a": 1} x', "row: text follows the JSON value"),
        ("[]", "row: an empty array"),
        ("[" * 5000, "row: not JSON that can be read"),
        ("1" * 5000, "row: not JSON that can be read"),
    ],
)
def test_a_line_that_is_no_json_says_why_and_shows_nothing_of_it(text: str, says: str) -> None:
    found = read(text + '\n{"channel": "sms"}\n', "a.jsonl")
    ((line, (error,)),) = errors(found)
    assert line == 1 and error.startswith(says)
    assert found[1].candidate == {"channel": "sms"}


def test_an_array_is_no_row() -> None:
    assert [(row.candidate, row.errors) for row in read('[{"channel": "sms"}]', "a.jsonl")] == [(None, [])]


# --- memory, and going on


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_line_without_an_end_is_not_kept_in_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "CHUNK_BYTES", 64 * 1024)
    begin = HEADER if name == "a.csv" else '{"channel": "log"}\n'
    largest = 0

    parts = [begin.encode(), *(b"x" * 64 * 1024 for _ in range(200)), b"\nsms,1,a\n"]
    found, _ = rows(name, lambda size: parts.pop(0) if parts else b"")
    for row in found:
        largest = max(largest, len(row.text))
        if row.errors and row.line == 2:
            assert row.errors == [f"row: must have at most {LINE_BYTES_MAX} bytes"]
            assert row.end == len(begin) + 200 * 64 * 1024 + 1
    assert largest <= 1000


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_file_read_in_two_halves_has_the_same_rows(name: str) -> None:
    text = (
        'channel,address,body\r\nsms,1,가\r\nsms,2,"b\r\nc"\r\n\r\nsms,"3\nsms,4,d'
        if name == "a.csv"
        else ('{"channel": "sms"}\r\n\n{"channel": "가"}\nnot json\n{"channel": "log"}')
    )
    data = b"\xef\xbb\xbf" + text.encode()
    found, header = rows(name, reader(data))
    whole = list(found)
    assert whole[-1].end == len(data)
    for index, row in enumerate(whole):
        rest, _ = rows(name, reader(data[row.end :]), offset=row.end, line=row.next_line, header=header)
        assert list(rest) == whole[index + 1 :]


fields = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters='",\n '), max_size=12)


@given(st.lists(st.lists(fields, min_size=3, max_size=3).filter(any), max_size=6), st.integers(1, 40))
@examples(max_examples=200, deadline=None)
def test_whatever_pythons_own_writer_writes_is_read_back(table: list[list[str]], chunk_bytes: int) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["channel", "address", "body"], *table])
    found = read(out.getvalue(), chunk_bytes=chunk_bytes)
    # A field with a line that reads as a row is refused: nobody can tell it from a quotation that was left open.
    assume(not any(line.count(",") >= 2 for row in table for field in row for line in field.split("\n")[1:]))
    # So is a line break in a channel or within an address, which can have none.
    assume(not any("\n" in row[0] or "\n" in row[1].strip() for row in table))
    assert errors(found) == []

    def fields_of(candidate: dict[str, Any]) -> list[str]:
        body = candidate.get("content", {}).get("body", "")
        return [candidate.get("channel", ""), candidate.get("address", ""), body]

    assert [fields_of(row.candidate) for row in found] == table


@given(st.binary(max_size=200), st.sampled_from(["a.csv", "a.jsonl"]))
@examples(max_examples=300, deadline=None)
def test_whatever_bytes_come_each_line_is_a_row_or_an_error_and_the_end_is_reached(data: bytes, name: str) -> None:
    try:
        found = read((HEADER.encode() if name == "a.csv" else b"{}\n") + data, name)
    except UnreadableFile:
        return
    assert all(row.errors or row.candidate is not None or name == "a.jsonl" for row in found)
    assert [row.line for row in found] == sorted({row.line for row in found})
