"""Files of consents: every row is written or listed, and an export comes back as it was, also through Excel."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.quiet_hours.consents.record import Record, amended
from lambdas.quiet_hours.errors import StatementRefused
from operators.consent_csv import Row, WrongRow, read_rows, write_rows
from operators.consents import Applied, Imported, import_rows

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SEOUL = ZoneInfo("Asia/Seoul")
HEADER = "recipient_id,night_consent,opted_out,changed_at,evidence"
GIVEN = "2025-03-01T10:00:00+09:00"


class Tables:
    """The consent table as a dictionary, for files by the hundred."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}

    def apply(self, rows: list[Row], now: datetime) -> Applied:
        applied = Applied(Imported().counts, [])
        for row in rows:
            before = self.records.get(row.recipient_id)
            try:
                after = amended(before, row.recipient_id, row.said, now, SEOUL)
            except StatementRefused as fault:
                applied.refused.append(WrongRow(row.line, (str(fault),)))
                applied.counts["older"] += 1
            else:
                applied.counts["unchanged" if after == before else "written"] += 1
                self.records[row.recipient_id] = after
        return applied


def imported(data: bytes, tables: Tables | None = None) -> tuple[Imported, set[int], Tables]:
    """The counts of an import, the lines that are listed, and the tables."""
    done, tables = Imported(), tables or Tables()
    listed = {row.line for row in import_rows(read_rows(io.BytesIO(data), NOW), tables, NOW, done)}  # type: ignore[arg-type]
    return done, listed, tables


def opt_outs(number: int) -> list[str]:
    return [f"user-{n},false,true,{GIVEN},080 number" for n in range(number)]


# --- every row is written or listed


@given(number=st.integers(1, 300), data=st.data())
def test_a_quotation_that_is_never_closed_takes_only_its_own_row(number: int, data: Any) -> None:
    lines = opt_outs(number)
    broken = data.draw(st.integers(0, number - 1))
    cells = lines[broken].split(",")
    place = data.draw(st.integers(0, len(cells) - 1))
    cells[place] = '"' + cells[place]
    lines[broken] = ",".join(cells)
    done, listed, tables = imported("\n".join((HEADER, *lines)).encode())
    assert listed == {broken + 2}
    assert done.counts == {key: n for key, n in {"written": number - 1, "wrong": 1}.items() if n}
    assert tables.records.keys() == {f"user-{n}" for n in range(number) if n != broken}


anything = st.lists(
    st.one_of(
        st.sampled_from(opt_outs(5)),
        st.sampled_from([f"user-1,true,false,{GIVEN},form", 'user-2,true,false,2024-01-01T00:00:00Z,"a ""b"""']),
        st.text(alphabet='",\r\x00a1 -', max_size=12),
        st.sampled_from(opt_outs(5)).map(lambda line: line.replace("080", '"080', 1)),
        st.sampled_from(opt_outs(5)).map(lambda line: line + '"'),
    ),
    max_size=40,
)


@given(lines=anything)
def test_the_counts_of_an_import_add_up_to_the_rows_of_its_file(lines: list[str]) -> None:
    data = "\n".join((HEADER, *lines)).encode()
    rows = list(read_rows(io.BytesIO(data), NOW))
    done, listed, _ = imported(data)
    assert sum(done.counts.values()) == len(rows)
    assert done.counts["older"] + done.counts["wrong"] == len(listed)
    assert done.counts["wrong"] == sum(isinstance(row, WrongRow) for row in rows)


@given(data=st.binary(max_size=200))
def test_any_bytes_after_the_header_are_rows_that_are_accounted_for(data: bytes) -> None:
    done, listed, _ = imported(HEADER.encode() + b"\n" + data)
    assert done.counts["wrong"] + done.counts["older"] == len(listed)
    if any(line.strip(b"\r,") for line in data.split(b"\n")):
        assert sum(done.counts.values())


COLUMNS_IN_ORDERS = [
    HEADER,
    "evidence,recipient_id,night_consent,opted_out,changed_at",
    "recipient_id,evidence,night_consent,opted_out,changed_at",
    "recipient_id,night_consent,opted_out,changed_at,addresses,evidence",
]
PEOPLE = ("user-{}", "010-1234-{:04}", "+8210 1234 {:04}", "kim{}@example.com", "Kim{}", "user {}")
MARKS = ("", "", "", '"', '""')


@st.composite
def written_rows(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A header, and lines each of which somebody has written as a row: some with a field more or less, with blanks
    after the separators, and with quotation marks anywhere at the ends of fields."""
    header = draw(st.sampled_from(COLUMNS_IN_ORDERS))
    separator = draw(st.sampled_from([",", ";", "\t"]))
    lines = []
    for number in range(draw(st.integers(1, 8))):
        values = {"recipient_id": draw(st.sampled_from(PEOPLE)).format(number), "changed_at": GIVEN}
        values |= {"night_consent": "false", "opted_out": "true", "evidence": draw(st.sampled_from(["web", "a form"]))}
        cells = [values.get(name, "") for name in header.split(",")]
        cells += draw(st.lists(st.sampled_from(["", "x"]), max_size=2))
        cells = cells[: draw(st.integers(3, len(cells)))]
        marks = st.sampled_from(MARKS)
        cells = [draw(marks) + cell + draw(marks) for cell in cells]
        lines.append((separator + draw(st.sampled_from(["", "", " "]))).join(cells))
    return header.replace(",", separator), lines


@given(written=written_rows())
def test_every_line_that_is_a_row_is_written_or_listed(written: tuple[str, list[str]]) -> None:
    """written + unchanged + older + wrong = rows: whatever quotation marks stand in a file, nobody vanishes."""
    header, lines = written
    data = "\n".join((header, *lines)).encode()
    assert [row.line for row in read_rows(io.BytesIO(data), NOW)] == list(range(2, len(lines) + 2))
    done, listed, _ = imported(data)
    assert sum(done.counts.values()) == len(lines)
    assert done.counts["wrong"] + done.counts["older"] == len(listed)
    assert set(done.counts) <= {"written", "unchanged", "older", "wrong"}


# --- an export comes back as it was


RECORD = Record("user-42", True, False, "2025-03-01T01:00:00.000+00:00", "web form", renotify_due="2027-03-01")


def exported(*records: Record) -> str:
    out = io.StringIO(newline="")
    write_rows(out, records)
    return out.getvalue()


def through_excel(text: str) -> str:
    """Open and save a file of text as Excel does: it changes each cell that it takes for a value."""
    saved = io.StringIO(newline="")
    writer = csv.writer(saved, lineterminator="\r\n")
    writer.writerows([_by_excel(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline="")))
    return saved.getvalue()


def _by_excel(cell: str) -> str:
    if re.fullmatch(r"\s*[+-]?[0-9]+\s*", cell):
        number = int(cell)
        return f"{number:.5E}" if abs(number) >= 10**11 else str(number)
    if re.fullmatch(r"[0-9]+E[0-9]+", cell):
        return f"{float(cell):.2E}"
    if re.match(r"[=+@-]|[\uff1d\uff0b\uff0d\uff20]", cell):
        return "#NAME?"  # it has run it
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", cell) or re.match("(may|sept?|march?)[- ]?[0-9]", cell, re.I):
        return "03/01/2027"
    return cell.upper() if cell in ("true", "false") else cell


RECIPIENTS = [
    *("+821012345678", "+14155550100", "00123", "1234567890123456", "8210", "1E5", "3-4", "2026-11-01", "12:30"),
    *("user-42", "kim@example.com", "may-5", "SEPT2", "true", "FALSE", "-7", "=A1", "@kim", ".5", "(5)", "$5"),
    *("\\n", "a\\b", "고객-1", "5월 1일"),
]

EVIDENCE = [
    *("web form", "=1+1", '=HYPERLINK("http://example.com")', "+1", "-1", "@SUM(A1)", "\tTab", "\n=1+1", "two\nlines"),
    *('a, "b"', "'quoted", "''", "'", "'=1", "\\n", "\\\\n\n", "2026-11-01", "4711", "가입 화면", "\uff1dA1"),
    f"two\nuser-1,true,false,{GIVEN},form",
]


@pytest.mark.parametrize("saved", [str, through_excel])
@pytest.mark.parametrize("recipient", RECIPIENTS)
def test_a_recipient_comes_back_from_an_export(recipient: str, saved: Callable[[str], str]) -> None:
    record = replace(RECORD, recipient_id=recipient)
    _, listed, tables = imported(saved(exported(record)).encode())
    assert not listed
    assert tables.records == {recipient: record}


@pytest.mark.parametrize("saved", [str, through_excel])
@pytest.mark.parametrize("evidence", EVIDENCE)
def test_evidence_comes_back_from_an_export(evidence: str, saved: Callable[[str], str]) -> None:
    record = replace(RECORD, evidence=evidence)
    _, listed, tables = imported(saved(exported(record)).encode())
    assert not listed
    assert tables.records == {"user-42": record}


@pytest.mark.parametrize("text", RECIPIENTS + EVIDENCE)
def test_no_cell_of_an_export_can_be_run_or_spans_lines(text: str) -> None:
    lines = exported(replace(RECORD, recipient_id=text, evidence=text)).splitlines()
    assert len(lines) == 2
    (cells,) = csv.reader(lines[1:])
    assert not [cell for cell in cells if re.match(r"[=+@\t\r\n-]|[\uff1d\uff0b\uff0d\uff20]", cell)]


evidence_text = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.just("\n"), min_size=1, max_size=30)


@given(evidence=evidence_text)
def test_any_evidence_comes_back_from_an_export(evidence: str) -> None:
    record = replace(RECORD, evidence=evidence.replace("\ufffe", "").replace("\uffff", "") or "x")
    for saved in (str, through_excel):
        assert imported(saved(exported(record)).encode())[2].records == {"user-42": record}


@pytest.mark.parametrize("cell", ["'web form", "'=1+1", "'4711"])
def test_an_apostrophe_in_a_file_that_is_no_export_stays(cell: str) -> None:
    _, _, tables = imported(f"{HEADER}\nuser-1,true,false,{GIVEN},{cell}".encode())
    assert tables.records["user-1"].evidence == cell


def test_a_row_that_is_added_to_an_export_needs_no_mark() -> None:
    added = exported(RECORD) + f"user-1,true,false,{GIVEN},'quoted,,,,,,\n"
    _, _, tables = imported(added.encode())
    assert tables.records["user-1"].evidence == "'quoted"
