"""Files of consents: every row is written or listed, and an export comes back as it was, also through Excel."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from lambdas.quiet_hours.consents.record import Record, amended
from lambdas.quiet_hours.errors import StatementRefused
from operators.consent_csv import Row, WrongRow, read_rows
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
        st.sampled_from([f"user-1,true,false,{GIVEN},form", f'user-2,true,false,2024-01-01T00:00:00Z,"a ""b"""']),
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
