"""Consents as CSV: every row is checked, an import may be run again, and what is exported can be imported."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console
from rich.progress import Progress

from commands import CommandError
from lambdas.quiet_hours.files.lines import LINE_BYTES_MAX
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.consents import read_record
from operators import consents
from operators.consent_csv import Row, WrongRow, read_rows, write_rows
from operators.consents import ConsentTables, Imported, import_file, records
from tests.helpers.aws import Faulty, dynamodb, fail, put_consent, recorded, settings, sqs

__all__ = ["dynamodb", "settings", "sqs"]

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HEADER = "recipient_id,night_consent,opted_out,changed_at,evidence"
GIVEN = "2025-03-01T10:00:00+09:00"
GOOD = f"user-1,true,false,{GIVEN},web form"


def rows(*lines: str | bytes, header: str = HEADER) -> list[Row | WrongRow]:
    text = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in (header, *lines))
    return list(read_rows(io.BytesIO(text), NOW))


def wrong(*lines: str | bytes, header: str = HEADER) -> list[tuple[int, str]]:
    return [(row.line, "; ".join(row.errors)) for row in rows(*lines, header=header) if isinstance(row, WrongRow)]


# --- reading


def test_a_row_is_a_statement_about_the_one_recipient_that_it_names() -> None:
    (row,) = rows(f"010-1234-5678,TRUE,false,{GIVEN},가입 화면")
    assert isinstance(row, Row)
    assert (row.line, row.recipient_id, row.said.night_consent) == (2, "+821012345678", True)
    assert row.said.evidence == "가입 화면"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (f",true,false,{GIVEN},form", "recipient_id: must have 1 to 512 characters"),
        (f"T 010-1234-5678,true,false,{GIVEN},form", "recipient_id: reads as a phone number, but a phone number must"),
        (f"user-1,yes,false,{GIVEN},form", "night_consent: must be true or false"),
        (f"user-1,true,,{GIVEN},form", "opted_out: must be true or false"),
        ("user-1,true,false,2025-03-01,form", "changed_at: must be a time with an offset"),
        ("user-1,true,false,,form", "changed_at: must be a time with an offset"),
        ("user-1,true,false,2999-03-01T10:00:00+09:00,form", "changed_at: must lie between 2000-01-01 and now"),
        (f"user-1,true,false,{GIVEN},", "evidence: must have 1 to 256 characters"),
        (f"user-1,true,false,{GIVEN},a\x00b", "evidence: has a character that cannot be sent"),
        ("user-1,true", "row: has 2 fields where the first line names 5 columns"),
        (
            f'user-1,true,false,{GIVEN},"a"b',
            "row: is not CSV; a field with a quotation mark must stand in quotation marks, with that one doubled",
        ),
        (f"user-1,true,false,{GIVEN},가입".encode("cp949"), "row: is not UTF-8 (byte 45); save the file as UTF-8"),
        ("x" * LINE_BYTES_MAX * 3, f"row: must have at most {LINE_BYTES_MAX} bytes"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_by_its_line_and_harms_no_other(line: str | bytes, error: str) -> None:
    found = rows(GOOD, line, GOOD)
    assert found[0] == rows(GOOD)[0]
    assert isinstance(found[-1], Row)
    number, errors = wrong(GOOD, line, GOOD)[0]
    assert number == 3
    assert error in errors


def test_a_row_that_is_wrong_in_every_field_is_told_all_of_it() -> None:
    ((_, errors),) = wrong(",maybe,2,yesterday,,once,soon", header=HEADER + ",renotified_at,renotify_due")
    assert [error.partition(":")[0] for error in errors.split("; ")] == [
        "recipient_id",
        "renotified_at",
        "renotify_due",
        "night_consent",
        "opted_out",
        "evidence",
        "changed_at",
    ]


@pytest.mark.parametrize("day", ["1999-01-01", "2037-01-01", "20271101"])
def test_a_date_that_no_list_would_ever_show_is_wrong(day: str) -> None:
    assert wrong(f"{GOOD},{day}", header=HEADER + ",renotify_due")[0][1].startswith("renotify_due: must ")


def test_no_value_is_shown_for_what_is_wrong_with_it() -> None:
    assert "canary" not in str(wrong("canary\x00,canary,canary,canary,canary\x00", "canary,canary"))


def test_what_a_spreadsheet_writes_is_read() -> None:
    text = ("\ufeff" + HEADER + "\r\n" + f'"user-1",TRUE,FALSE,{GIVEN},"form, page 2"\r\n\r\n').encode()
    (row,) = read_rows(io.BytesIO(text), NOW)
    assert isinstance(row, Row)
    assert row.said.evidence == "form, page 2"


@pytest.mark.parametrize("header", ["", "recipient_id,night_consent", HEADER + ",phone", HEADER + ",evidence", '"'])
def test_a_file_with_another_header_is_refused_as_a_whole(header: str) -> None:
    with pytest.raises(CommandError, match="The first line must name the columns recipient_id"):
        rows(GOOD, header=header)


@pytest.mark.parametrize(
    ("data", "says"), [(f"{HEADER}\n{GOOD}".encode("utf-16"), "UTF-16: save it as UTF-8"), (b"", "the file is empty")]
)
def test_a_file_that_cannot_be_read_at_all_is_refused_with_what_to_do(data: bytes, says: str) -> None:
    with pytest.raises(CommandError, match=f"The file cannot be imported: .*{says}"):
        list(read_rows(io.BytesIO(data), NOW))


def test_blank_lines_are_no_rows() -> None:
    assert [row.line for row in rows("", GOOD, "", "", GOOD)] == [3, 6]


def test_a_line_of_commas_only_is_a_wrong_row() -> None:
    """A consent that lost its values is counted and listed: nobody may take it for imported."""
    found = wrong("", ",,,,", ",", GOOD)
    assert [line for line, _ in found] == [3, 4]
    assert "recipient_id: must have 1 to 512 characters" in found[0][1]
    assert found[1][1] == "row: has 2 fields where the first line names 5 columns"


def test_lines_after_one_of_several_lines_keep_their_numbers() -> None:
    assert [row.line for row in rows(f'user-1,true,false,{GIVEN},"two\nlines"', GOOD)] == [2, 4]


# --- importing


@pytest.fixture
def tables(dynamodb: Any, settings: Settings) -> ConsentTables:
    return ConsentTables(dynamodb, "consent", "consent-history", ZoneInfo("Asia/Seoul"))


@pytest.fixture
def load(tmp_path: Path, tables: ConsentTables, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Imported]:
    monkeypatch.setattr(consents, "in_threads", lambda function, parts, at_once: [function(part) for part in parts])
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def call(*lines: str, tables: ConsentTables | None = tables, from_line: int = 1, header: str = HEADER) -> Imported:
        path = tmp_path / "consents.csv"
        path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
        progress = Progress(console=Console(quiet=True))
        return import_file(path, tables, NOW, from_line, progress)

    return call


def many(number: int, night: str = "true", at: str = GIVEN) -> list[str]:
    return [f"user-{n},{night},false,{at},form" for n in range(number)]


def test_an_import_can_be_run_again_and_writes_nothing_twice(load: Any, dynamodb: Any) -> None:
    assert load(*many(120)).counts["written"] == 120
    with recorded(dynamodb) as calls:
        assert load(*many(120)).counts["unchanged"] == 120
    assert {call.operation for call in calls} == {"BatchGetItem"}
    assert len(dynamodb.scan(TableName="consent-history")["Items"]) == 120


def opt_outs_with_an_open_quotation_in_row_5(number: int) -> list[str]:
    found = [f"user-{n},false,true,{GIVEN},080 number" for n in range(number)]
    found[3] = f'user-3,false,true,{GIVEN},"080 number'
    return found


def test_a_quotation_that_is_never_closed_takes_only_its_own_row() -> None:
    found = rows(*opt_outs_with_an_open_quotation_in_row_5(300))
    assert [row.line for row in found] == list(range(2, 302))
    assert [row.line for row in found if isinstance(row, WrongRow)] == [5]


def test_every_row_is_written_or_listed_where_a_quotation_is_never_closed(
    load: Any, dynamodb: Any, tmp_path: Path
) -> None:
    assert load(*opt_outs_with_an_open_quotation_in_row_5(30)).counts == {"written": 29, "wrong": 1}
    assert len(dynamodb.scan(TableName="consent")["Items"]) == 29
    (_, listed) = (tmp_path / "consents.csv.rejected.csv").read_text().splitlines()
    assert listed.startswith("5,row: a quotation mark is opened and not closed")


def test_an_old_file_undoes_no_later_withdrawal(load: Any, dynamodb: Any, tmp_path: Path) -> None:
    load(*many(2, night="false", at="2026-01-01T00:00:00Z"))
    done = load(*many(3))
    assert (done.counts["older"], done.counts["written"]) == (2, 1)
    record = read_record(dynamodb, "consent", "user-0")
    assert record is not None
    assert not record.night_consent
    rejected = (tmp_path / "consents.csv.rejected.csv").read_text()
    assert "2,changed_at: a statement of 2026-01-01T00:00:00.000+00:00 stands" in rejected


def test_two_rows_for_one_recipient_count_in_their_order(load: Any, dynamodb: Any) -> None:
    later = "2026-01-01T00:00:00Z"
    done = load(*many(1), *many(1, night="false", at=later), *many(1, at="2026-02-01T00:00:00Z"))
    assert done.counts["written"] == 3
    record = read_record(dynamodb, "consent", "user-0")
    assert record is not None
    assert record.night_consent


def test_what_is_wrong_is_listed_beside_the_file_and_the_rest_counts(load: Any, tmp_path: Path) -> None:
    done = load("user-x,maybe,false,2025,", *many(1))
    assert (done.counts["wrong"], done.counts["written"]) == (1, 1)
    listed = (tmp_path / "consents.csv.rejected.csv").read_text().splitlines()
    assert listed[0] == "line,errors"
    assert listed[1].startswith('2,"night_consent: must be true or false; evidence:') or listed[1].startswith("2,night")
    load(*many(1))
    assert not (tmp_path / "consents.csv.rejected.csv").exists()


def test_every_row_is_counted_once(load: Any) -> None:
    older = many(1, at="2024-01-01T00:00:00Z")
    load(*many(1))
    assert load(*many(2), *older, "", ",,,,", "user-x,maybe,false,2025,").counts == {
        "unchanged": 1,
        "written": 1,
        "older": 1,
        "wrong": 2,
    }


def test_checking_writes_nothing(load: Any, dynamodb: Any) -> None:
    assert load(*many(5), tables=None).counts["right"] == 5
    assert dynamodb.scan(TableName="consent")["Items"] == []


def test_checking_warns_of_phone_numbers_that_a_spreadsheet_has_shortened(
    command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = ("1012345678", "010-1234-5678", "1098765432", "+821011112222", "4711", "10-1111-2222", "14155550100")
    lines = (f"{number},true,false,{GIVEN},web form" for number in numbers)
    (tmp_path / "in.csv").write_text("\n".join([HEADER, *lines]))
    command("import", "in.csv", "--check")
    assert "Warning: 4 of the right rows look like phone numbers without their 0 or +" in capsys.readouterr().out
    (tmp_path / "in.csv").write_text("\n".join([HEADER, *many(3)]))
    command("import", "in.csv", "--check")
    assert "Warning" not in capsys.readouterr().out


def test_an_import_goes_on_where_it_is_told(load: Any, dynamodb: Any) -> None:
    assert load(*many(5), from_line=5).counts["written"] == 2


def test_a_table_that_is_away_ends_it_with_the_line_to_go_on_from(
    load: Any, tables: ConsentTables, dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consents, "TRIES", 2)  # eight of them wait for half a minute
    calls = iter(range(100))
    away = Faulty(dynamodb, batch_get_item=lambda real, **call: real(**call) if next(calls) < 8 else fail()(real))
    broken = ConsentTables(away, tables.table, tables.history_table, tables.zone)
    with pytest.raises(CommandError, match=r"from line 402 on \(ServiceUnavailable\).*--from-line 402"):
        load(*many(500), tables=broken)
    assert load(*many(500), from_line=402).counts["written"] == 100


def test_a_throttled_write_is_tried_again(load: Any, tables: ConsentTables, dynamodb: Any) -> None:
    calls = iter(range(100))
    slow = Faulty(
        dynamodb,
        transact_write_items=lambda real, **call: (
            fail("ThrottlingException")(real) if next(calls) < 3 else real(**call)
        ),
    )
    throttled = ConsentTables(slow, tables.table, tables.history_table, tables.zone)
    assert load(*many(3), tables=throttled).counts["written"] == 3


def test_a_consent_that_changes_meanwhile_is_read_again(load: Any, tables: ConsentTables, dynamodb: Any) -> None:
    calls = iter(range(100))

    def overtaken(real: Any, **call: Any) -> Any:
        if next(calls) == 0:
            put_consent(dynamodb, "user-1", opted_out=True)
        return real(**call)

    busy = Faulty(dynamodb, transact_write_items=overtaken)
    counts = load(*many(3), tables=ConsentTables(busy, "consent", "consent-history", tables.zone)).counts
    assert counts == {"written": 2, "older": 1}
    record = read_record(dynamodb, "consent", "user-1")
    assert record is not None
    assert record.opted_out


# --- exporting


def test_what_is_exported_can_be_imported_again_and_changes_nothing(load: Any, dynamodb: Any, tmp_path: Path) -> None:
    load("user-z,true,false,2025-03-01T10:00:00+09:00,trial,2026-12-01T00:00:00Z", header=HEADER + ",expires_at")
    load(*many(30), f"user-x,false,true,{GIVEN},080 number", f'user-y,false,false,{GIVEN},"a, ""b"""')
    out = io.StringIO(newline="")
    assert write_rows(out, records(dynamodb, "consent")) == 33
    header, *lines = out.getvalue().splitlines()
    assert header == HEADER + ",expires_at,renotified_at,renotify_due,advertising_consent,addresses,text_mark"
    assert load(*lines, header=header).counts == {"unchanged": 33}


# --- the command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, dynamodb: Any, settings: Settings, tmp_path: Path) -> Callable[..., None]:
    """`python -m operators.consents …` in the temporary folder, on a deployment whose registrar has the settings."""
    variables = {"Environment": {"Variables": replace(settings, timezone="America/New_York").to_env()}}
    clients = {
        "dynamodb": dynamodb,
        "lambda": SimpleNamespace(
            get_function_configuration=lambda FunctionName: {"Registrar": variables}[FunctionName]
        ),
    }
    monkeypatch.setattr(consents, "target", lambda: (clients.get, {"RegistrarFunctionName": "Registrar"}))
    monkeypatch.setattr(consents, "in_threads", lambda function, parts, at_once: [function(part) for part in parts])
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["operators.consents", *arguments])
        consents.main()

    return run


def test_import_export_and_the_list_of_who_is_due_go_by_the_deployments_own_settings(
    command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text("\n".join([HEADER, *many(3, at="2025-03-01T02:00:00Z")]))
    command("import", "in.csv")
    assert "3 written" in capsys.readouterr().out
    command("export", "out.csv")
    exported = (tmp_path / "out.csv").read_bytes()
    assert exported.startswith(b"\xef\xbb\xbf")  # without it Excel reads another encoding
    assert len(exported.splitlines()) == 4
    capsys.readouterr()
    command("due", "--before", "2027-03-01")  # in New York it was still February
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], sorted(lines[1:])) == ("recipient_id,renotify_due", [f"user-{n},2027-02-28" for n in range(3)])


def test_a_list_for_another_century_is_refused(command: Any) -> None:
    with pytest.raises(CommandError, match="--before must not lie before 2000-01-01 nor more than 10 years ahead"):
        command("due", "--before", "9999-12-31")


def test_an_import_with_wrong_rows_ends_with_where_they_are_listed(command: Any, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(HEADER + "\nuser-1,maybe,false,2025,\n")
    with pytest.raises(CommandError, match=r"in\.csv\.rejected\.csv"):
        command("import", "in.csv")


def test_a_file_that_is_not_there_is_named(command: Any) -> None:
    with pytest.raises(CommandError, match=r"nowhere\.csv cannot be read: No such file"):
        command("import", "nowhere.csv")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """20,000 rows and 100,000: the same peak, within a few MB. A million are checked in docs/consent.md."""
    peaks_mb = []
    for number in (20_000, 100_000):
        path = tmp_path / f"{number}.csv"
        path.write_text("\n".join([HEADER, *many(number), "x,y"]) + "\n")
        # A shell between: Linux counts the memory of the process that starts another one as the other's.
        command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "operators.consents", "import", str(path)]
        env = {**os.environ, "TERM": "dumb"}
        done = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False, env=env)
        assert f"{number} right, 1 wrong." in done.stdout
        assert done.returncode == 1
        assert "listed by line" in done.stderr
        peaks_mb.append(int(done.stdout.split("Peak memory ")[1].split()[0]))
    assert peaks_mb[1] - peaks_mb[0] <= 8
