"""Files as people really save them: each is read as it is meant, or refused with what to do. No row goes missing.

Campaign files and files of consents have one reader, so every case is tried as both.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lambdas.quiet_hours.errors import UnreadableFile
from lambdas.quiet_hours.files import csv_rows as csv_module
from lambdas.quiet_hours.files import lines as lines_module
from lambdas.quiet_hours.files.csv_rows import COLUMNS_MAX, ROW_LINES_MAX
from lambdas.quiet_hours.files.rows import Row, rows
from local import CommandError
from operators.consent_csv import Row as ConsentRow
from operators.consent_csv import WrongRow, read_rows

NOW = datetime(2026, 11, 1, tzinfo=UTC)
AT = "2025-03-01T10:00:00+09:00"

CAMPAIGN = [["channel", "address", "body"], ["sms", "1", "가"], ["sms", "2", "나"]]
CONSENTS = [
    ["recipient_id", "night_consent", "opted_out", "changed_at", "evidence"],
    ["user-1", "false", "true", AT, "가"],
    ["user-2", "false", "true", AT, "나"],
]


def campaign(data: bytes, name: str = "a.csv", chunk_bytes: int = 1 << 30) -> list[Row]:
    stream = io.BytesIO(data)
    return list(rows(name, lambda size: stream.read(min(size, chunk_bytes)))[0])


def campaign_texts(data: bytes) -> list[str]:
    found = campaign(data)
    assert not [row.errors for row in found if row.errors]
    return [row.candidate["content"]["body"] for row in found]


def consent_texts(data: bytes) -> list[str]:
    found = list(read_rows(io.BytesIO(data), NOW))
    assert not [row for row in found if isinstance(row, WrongRow)]
    return [row.said.evidence for row in found if isinstance(row, ConsentRow)]


Reader = Callable[[bytes], list[str]]
BOTH = pytest.mark.parametrize(
    ("table", "texts"), [(CAMPAIGN, campaign_texts), (CONSENTS, consent_texts)], ids=["campaign", "consents"]
)


def joined(table: list[list[str]], separator: str = ",", end: str = "\n") -> str:
    return "".join(separator.join(row) + end for row in table)


# --- what is read

READ: dict[str, Callable[[list[list[str]]], bytes]] = {
    "plain": lambda t: joined(t).encode(),
    "a byte order mark": lambda t: ("\ufeff" + joined(t)).encode(),
    "two byte order marks": lambda t: ("\ufeff\ufeff" + joined(t)).encode(),
    "semicolons": lambda t: joined(t, ";").encode(),
    "semicolons and CR LF": lambda t: ("\ufeff" + joined(t, ";", "\r\n")).encode(),
    "tabs": lambda t: joined(t, "\t").encode(),
    "sep=,": lambda t: ("sep=,\r\n" + joined(t, end="\r\n")).encode(),
    "sep=;": lambda t: ("\ufeffsep=;\r\n" + joined(t, ";", "\r\n")).encode(),
    'quoted "SEP=;"': lambda t: ('"SEP=;"\n' + joined(t, ";")).encode(),
    "sep= and a tab": lambda t: ("sep=\t\n" + joined(t, "\t")).encode(),
    "CR only": lambda t: joined(t, end="\r").encode(),
    "CR only, none at the end": lambda t: joined(t, end="\r").encode().rstrip(b"\r"),
    "CR LF": lambda t: joined(t, end="\r\n").encode(),
    "CR CR LF": lambda t: joined(t, end="\r\r\n").encode(),
    "mixed line ends": lambda t: b"\r\n".join([joined(t[:1], end="").encode(), joined(t[1:], end="\r").encode()]),
    "empty columns at the end": lambda t: joined([[*row, "", "", ""] for row in t]).encode(),
    "empty columns in the header only": lambda t: joined([[*t[0], "", ""], *t[1:]]).encode(),
    "empty columns in the rows only": lambda t: joined([t[0], *([*row, ""] for row in t[1:])]).encode(),
    "thousands of empty columns": lambda t: joined([[*row, *[""] * 8000] for row in t]).encode(),
    "blanks around the names": lambda t: joined([[f" {name} " for name in t[0]], *t[1:]]).encode(),
    "everything in quotation marks": lambda t: joined([[f'"{each}"' for each in row] for row in t], ";").encode(),
    "empty lines": lambda t: (joined(t[:1]) + "\n\n" + joined(t[1:]) + "\n").encode(),
}


@BOTH
@pytest.mark.parametrize("saved", READ.values(), ids=READ)
def test_it_is_read(table: list[list[str]], texts: Reader, saved: Callable[[list[list[str]]], bytes]) -> None:
    assert texts(saved(table)) == ["가", "나"]


@pytest.mark.parametrize("saved", READ.values(), ids=READ)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 64])
def test_it_is_read_the_same_from_any_row_on(
    saved: Callable[[list[list[str]]], bytes], chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if saved is READ["thousands of empty columns"]:
        chunk_bytes *= 100
    quote = "" if saved is READ["everything in quotation marks"] else '"'
    data = saved([*CAMPAIGN, ["sms", "3", f"{quote}다\r\n라{quote}"], ["sms", "4", "마"]])
    whole, header = rows("a.csv", io.BytesIO(data).read)
    expected = list(whole)
    assert [row.candidate["address"] for row in expected] == ["1", "2", "3", "4"]
    assert expected[2].candidate["content"]["body"] == "다\n라"
    for index, row in enumerate(expected):
        stream = io.BytesIO(data[row.end :])
        rest, _ = rows(
            "a.csv",
            lambda size: stream.read(min(size, chunk_bytes)),  # noqa: B023
            offset=row.end,
            line=row.next_line,
            header=header,
        )
        assert list(rest) == expected[index + 1 :]


@BOTH
def test_a_comma_is_no_separator_where_semicolons_are(table: list[list[str]], texts: Reader) -> None:
    assert texts(joined([table[0], [*table[1][:-1], "a, b, c"]], ";").encode()) == ["a, b, c"]


# --- what is refused by name


def workbook(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return out.getvalue()


def opendocument() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    return out.getvalue()


PLAIN = joined(CAMPAIGN)
UTF_8 = "save it as UTF-8"
REFUSED: dict[str, tuple[bytes, str]] = {
    "UTF-16 LE": (("\ufeff" + PLAIN).encode("utf-16-le"), UTF_8),
    "UTF-16 BE": (("\ufeff" + PLAIN).encode("utf-16-be"), UTF_8),
    "UTF-16 LE without a mark": (PLAIN.encode("utf-16-le"), UTF_8),
    "UTF-16 BE without a mark": (PLAIN.encode("utf-16-be"), UTF_8),
    "UTF-32": (("\ufeff" + PLAIN).encode("utf-32-le"), "is UTF-32: save it as UTF-8"),
    "an Excel workbook": (
        workbook("[Content_Types].xml", "xl/workbook.xml"),
        "is an Excel workbook: save it as CSV UTF-8",
    ),
    "a workbook that begins otherwise": (workbook("xl/workbook.xml"), "is an Excel workbook: save it as CSV UTF-8"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Excel workbook of an old kind"),
    "an OpenDocument file": (opendocument(), "is an OpenDocument file"),
    "a ZIP archive": (workbook("spring.csv"), "is compressed: decompress it first"),
    "gzip": (gzip.compress(PLAIN.encode()), "is compressed: decompress it first"),
    "a web page": (b"<html><table><tr><td>channel</td></tr></table></html>", "is HTML or XML"),
    "a web page with a mark": ("\ufeff \n<!DOCTYPE html>".encode(), "is HTML or XML"),
    "a PDF": (b"%PDF-1.7\n", "is a PDF"),
    "sep= and something else": (b"sep=|\n" + joined(CAMPAIGN, "|").encode(), "must name a comma, a semicolon or a tab"),
    "sep= and nothing": (b"sep=\n" + PLAIN.encode(), "must name a comma, a semicolon or a tab"),
    "sep= alone": (b"sep=,\n", "the file is empty"),
    "a column without a name": (b"channel,,address,body\nsms,,1,a\n", "column 2 has no name"),
    "nothing": (b"", "the file is empty"),
    "a byte order mark alone": (b"\xef\xbb\xbf", "the file is empty"),
}


@pytest.mark.parametrize(("data", "says"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_by_name(data: bytes, says: str) -> None:
    with pytest.raises(UnreadableFile, match=says):
        campaign(data)
    with pytest.raises(UnreadableFile, match=says):
        campaign(data, chunk_bytes=1)
    with pytest.raises(CommandError, match=f"The file cannot be imported: .*{says}"):
        list(read_rows(io.BytesIO(data), NOW))


@pytest.mark.parametrize("kind", ["UTF-16 LE", "UTF-16 BE without a mark", "an Excel workbook", "gzip", "a PDF"])
def test_json_lines_that_are_no_text_are_refused_too(kind: str) -> None:
    data, says = REFUSED[kind]
    with pytest.raises(UnreadableFile, match=says):
        campaign(data, "a.jsonl")


# --- quotation marks


def seen(text: str, header: str = "channel,address,body\n") -> tuple[list[str | None], list[int]]:
    """The addresses of the rows that are right, and the lines of the others."""
    found = campaign((header + text).encode())
    return [row.candidate.get("address") for row in found if not row.errors], [row.line for row in found if row.errors]


QUOTED = {
    "closes inside the next row": ('sms,1,"a\nsms,2,b"\nsms,3,c\n', ["2", "3"], [2]),
    "closes two rows later": ('sms,1,"a\nsms,2,b\nsms,3,c"\n', ["2", "3"], [2]),
    "closes at the last field of a later row": ('sms,1,"a\nsms,2,"\nsms,3,c\n', ["3"], [2, 3]),
    "closes before the end of a later row": ('sms,1,"a\nsms,2,b",x\nsms,3,c\n', ["3"], [2, 3]),
    "a later row with empty columns": ('sms,1,"a\nsms,2,b,,,\nc"\nsms,3,d\n', ["2", "3"], [2, 4]),
    "opens in the first field": ('"sms,1,a\nsms,2,b\nsms,3,"\nsms,4,d\n', ["2", "4"], [2, 4]),
    "never closes": ('sms,1,"a\nsms,2,b\n', ["2"], [2]),
    "a field of several lines": ('sms,1,"a\nb, c\nd"\nsms,2,b\n', ["1", "2"], []),
    "prose with as many commas as a row": ('sms,1,"Dear Kim,\nhello, dear, you"\nsms,2,b\n', ["1", "2"], []),
    "doubled marks over two lines": ('sms,1,"a ""b\nc"" d"\nsms,2,b\n', ["1", "2"], []),
    "empty columns after a field of several lines": ('sms,1,"a\nb",,\nsms,2,b\n', ["1", "2"], []),
    "too many fields after a field of several lines": ('sms,1,"a\nb",x\nsms,2,b\n', ["2"], [2, 3]),
    "a mark after a closed quotation": ('sms,1,"a"b"\nsms,2,b\n', ["2"], [2]),
    "closes inside a row with a field too many": ('sms,1,"a\nsms,2,b,x"\nsms,3,c\n', ["3"], [2, 3]),
    "closes inside a row with a field too few": ('sms,1,"a\nsms,2"\nsms,3,c\n', ["3"], [2, 3]),
    "closes after a row with a field too few": ('sms,1,"a\nsms,2\nb"\nsms,3,c\n', ["3"], [2, 3, 4]),
    "a row with a blank after each comma": ('sms,1,"a\nsms, 2, b"\nsms,3,c\n', [" 2", "3"], [2]),
    "a row with blanks around its commas": ('sms,1,"a\n sms , 2 , b"\nsms,3,c\n', [" 2 ", "3"], [2]),
    "a row with blanks and a field too many": ('sms,1,"a\nsms, 2, b, c"\nsms,3,c\n', ["3"], [2, 3]),
    "a channel in capital letters": ('sms,1,"a\nSMS, 2, b, c"\nsms,3,c\n', ["3"], [2, 3]),
    "a row that begins with an empty field": ('sms,1,"a\n,sms,010-1234-5678,b"\nsms,3,c\n', ["3"], [2, 3]),
    "a number behind a misspelt channel": ('sms,1,"a\nsns, 010-1234-5678, b, c"\nsms,3,c\n', ["3"], [2, 3]),
    "an e-mail behind a misspelt channel": ('sms,1,"a\nmail, kim@example.com"\nsms,3,c\n', ["3"], [2, 3]),
    "a number that Excel has shown": ('sms,1,"a\nsns, 8.21012E+11, b, c"\nsms,3,c\n', ["3"], [2, 3]),
    "a misspelt channel before two numbers": ('sms,1,"a\nsns,7,123"\nsms,3,c\n', ["7", "3"], [2]),
    "a misspelt channel before a word": ('sms,1,"a\nwebhok,kim,b"\nsms,3,c\n', ["kim", "3"], [2]),
    "a misspelt channel before a Slack channel": ('sms,1,"a\nslak,#주문,b"\nsms,3,c\n', ["#주문", "3"], [2]),
    "a misspelt channel before a name": ('sms,1,"a\nmail,김 <kim@x.kr>,b"\nsms,3,c\n', ["김 <kim@x.kr>", "3"], [2]),
    "a misspelt channel before no address": ('sms,1,"a\nsns,,b"\nsms,3,c\n', [None, "3"], [2]),
    "a row whose mark stands in its first field": ('"sms,1,a\nsms",2,b\nsms,3,c\n', ["2", "3"], [2]),
    "a line break within an address": ('sms,"1\n2",b\nsms,3,c\n', ["3"], [2, 3]),
    "a line break after an address": ('sms,"1\n",b\nsms,3,c\n', ["1\n", "3"], []),
    "a line break before an address": ('sms,"\n\n1",b\nsms,3,c\n', ["\n\n1", "3"], []),
    "a line break around a channel": ('"\nsms",1,b\nsms,3,c\n', ["1", "3"], [2]),
    "two breaks within an address": ('sms,"1\n\n2",b\nsms,3,c\n', ["3"], [2, 4]),
}


@pytest.mark.parametrize(("text", "right", "wrong"), QUOTED.values(), ids=QUOTED)
def test_a_quotation_takes_no_neighbour_with_it(text: str, right: list[str], wrong: list[int]) -> None:
    assert seen(text) == (right, wrong)


TEXTS = {
    "an order": "Hello Kim,\nyour order, 3 items, is ready",
    "one word first": "Hello,\nKim, your order is ready",
    "one word first, three parts": "Hello,\nKim, dear, your order is ready",
    "prices": "Prices:\n1,000 won, 2,000 won and more, as ever",
    "a sum": "Spring sale\n1,000,000 won off\nsee you",
    "a sum within a line": "봄 세일\n총 1,000,000원 할인\n감사합니다",
    "a sum with as many commas as a consent": "봄 세일\n총 1,000,000,000,000원 할인",
    "a sum alone in its line": "Total\n(1,234,567.50)",
    "prices with tight commas": "할인\n1,000원,2,000원",
    "a receipt": "영수증\n합계,10,000원",
    "tight commas": "영업 안내\n월,수,금 10-18시",
    "tight commas and numbers": "매장 안내\n서울,부산 서면,대구 2곳",
    "a number to call": "Questions?\n02-123-4567, on any day",
    "a channel within a sentence": "Stop it:\nwrite an sms, or call",
    "Korean": "지민님,\n주문하신 상품 3개, 준비되었습니다, 고맙습니다",
    "an address": "Come to\n12 Main Street, Seoul",
    "a list": "You bought\n- apples, pears\n- plums",
    "an empty line": "Hello, Kim,\n\nso long, Lee",
    "a comma first": "Hello\n, Kim",
    "doubled marks": 'Hello, ""Kim"",\nyour ""order"", 3 items, is ready',
}


@BOTH
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_of_several_lines_is_accepted(table: list[list[str]], texts: Reader, text: str) -> None:
    in_doubt = {"prices", "a sum", "a sum alone in its line", "a number to call", "a comma first"}
    in_doubt |= {"tight commas", "tight commas and numbers", "prices with tight commas", "a receipt"}
    if table is CONSENTS and text in {TEXTS[name] for name in in_doubt}:
        return  # a person's number or a tight comma: see the test below
    if table is CONSENTS and text.startswith("Hello,\nKim"):
        return
    data = joined([table[0], [*table[1][:-1], f'"{text}"'], table[2]])
    assert texts(data.encode()) == [text.replace('""', '"'), "나"]


IN_DOUBT = {
    "one word first": "Hello,\nKim, the form is signed",
    "a number first": "by phone,\n010 1234 5678, by herself",
    "a tight comma": "form,\nsigned by hand,scanned",
    "a truth value": "the form says,\nnight consent, false, all in all",
    "an instant": f"the form says,\nsigned on paper, {AT}",
    "an empty field": "form\n, signed",
}


@pytest.mark.parametrize("text", IN_DOUBT.values(), ids=IN_DOUBT)
def test_evidence_in_which_a_line_may_be_a_person_is_refused_by_name(text: str) -> None:
    """Where nobody can tell, the person is not lost: the row is listed with the line that its quotation encloses."""
    data = joined([CONSENTS[0], [*CONSENTS[1][:-1], f'"{text}"'], CONSENTS[2]])
    found = list(read_rows(io.BytesIO(data.encode()), NOW))
    assert [row.line for row in found] == [2, 3, 4]
    assert isinstance(found[0], WrongRow)
    assert found[0].errors == ("row: its quotation marks enclose line 3, which reads as a row of its own",)
    assert isinstance(found[2], ConsentRow)


FIRST_FIELD_OF_A_ROW = {
    "a customer number": ("user-2", True),
    "a phone number": ("010-1234-5678", True),
    "an e-mail address": ("kim@example.com", True),
    "words": ("signed at home", False),
    "a word": ("signed", False),
    "a sentence with a number": ("page 3", False),
}


@pytest.mark.parametrize(("text", "is_refused"), FIRST_FIELD_OF_A_ROW.values(), ids=FIRST_FIELD_OF_A_ROW)
def test_evidence_that_ends_in_what_may_begin_a_row(text: str, is_refused: bool) -> None:
    """The quotation may have been opened by mistake in one row, and closed by mistake in the next one."""
    header = "recipient_id,evidence,night_consent,opted_out,changed_at"
    found = list(read_rows(io.BytesIO(f'{header}\nuser-1,"web\n{text}",false,true,{AT}\n'.encode()), NOW))
    assert [isinstance(row, WrongRow) for row in found] == ([True, True] if is_refused else [False])


def test_a_body_that_ends_in_a_channel_may_hide_a_row() -> None:
    header = "channel,body,address\n"
    assert seen('sms,"a\nsms",2\nsms,c,3\n', header) == (["3"], [2, 3])
    assert seen('sms,"a\nsee you",2\nsms,c,3\n', header) == (["2", "3"], [])


@pytest.mark.parametrize("column", range(5))
def test_a_consent_has_line_breaks_only_in_its_evidence_and_around_its_recipient(column: int) -> None:
    """A line of a quotation in another column is a row of its own, or nobody would list it."""
    header, values = CONSENTS[0], ["user-1", "false", "true", AT, "web"]
    for before, after in (("", "Kim"), ("x", "Kim"), ("x", "")):
        cells = [f'"{before}\n{after}"' if index == column else value for index, value in enumerate(values)]
        data = ",".join(header) + "\n" + ",".join(cells) + "\n"
        lines = [row.line for row in read_rows(io.BytesIO(data.encode()), NOW)]
        is_kept = header[column] == "evidence" or (header[column] == "recipient_id" and not (before and after))
        assert lines == ([2] if is_kept else [2, 3])


def test_a_line_break_in_a_value_of_one_line_is_named() -> None:
    (row, *_) = campaign(b'channel,address,body\nsms,"1\n2",b\n')
    assert row.errors == ["row: the column address has a line break; by its quotation marks it goes on to line 3"]


def test_the_fault_names_the_line_that_stood_in_the_quotation() -> None:
    found = campaign(b'channel,address,body\nsms,1,"a\nsms,2,b"\n')
    assert found[0].errors == ["row: its quotation marks enclose line 3, which reads as a row of its own"]


def test_the_first_field_may_have_several_lines() -> None:
    assert seen('"a\nb",1,sms\n"a, b\nc",2,sms\n', "body,address,channel\n") == (["1", "2"], [])


LINES = st.sampled_from(["{}", '"{}', '{}"', '"{}"', '""{}', '{}""', '"{}""', "{},", '{}",'])


@given(st.lists(LINES, max_size=12))
@examples(max_examples=300, deadline=None)
def test_every_line_of_opt_outs_is_read_or_listed(shapes: list[str]) -> None:
    """Whatever quotation marks are put around the evidence of opt-outs, no person vanishes."""
    opt_outs = [f"user-{n},false,true,{AT},{shape.format('web')}" for n, shape in enumerate(shapes)]
    found = list(read_rows(io.BytesIO("\n".join([",".join(CONSENTS[0]), *opt_outs]).encode()), NOW))
    assert [row.line for row in found] == list(range(2, len(shapes) + 2))
    for row in found:
        if isinstance(row, ConsentRow):
            assert row.recipient_id == f"user-{row.line - 2}"
            assert "user-" not in row.said.evidence


# --- work


HARD = {
    "every line opens a quotation": 'sms,1,"a\n',
    "every line opens one and stays open": 'x",5" pipe,"\n',
    "every line closes one with too many fields": '"",x,"\n',
    "many doubled marks": 'sms,1,"' + '""' * 50 + "\n",
    "one that opens, many that do not": 'sms,1,"a\n' + "bb\n" * 98,
    "many fields": 'sms,1,"' + "," * 200 + "\n",
}


@pytest.mark.parametrize("block", HARD.values(), ids=HARD)
def test_quotation_marks_cost_linear_work(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the characters that are parsed or followed, not the time."""
    work = 0

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(text: str, *args: object, **named: object) -> object:
            nonlocal work
            work += len(text)
            return real(text, *args, **named)

        return call

    for name in ("_fields", "_scan", "decoded", "_inner"):
        monkeypatch.setattr(csv_module, name, counted(getattr(csv_module, name)))
    text = "channel,address,body\n" + block * 500
    list(campaign(text.encode()))
    assert work <= 5 * len(text), work / len(text)


def test_a_header_of_thousands_of_columns_is_refused_before_anything_is_compared() -> None:
    header = ",".join(["channel", "address", *(f"variables.{n}" for n in range(8000))])
    with pytest.raises(UnreadableFile, match=f"must name at most {COLUMNS_MAX} columns"):
        campaign(f"{header}\nsms,1\n".encode())


def test_a_line_longer_than_a_row_may_be_ends_where_its_end_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for end in ("\n", "\r", "\r\n"):
        data = ("channel,address,body\n" + "x" * (lines_module.LINE_BYTES_MAX + 5) + end + "sms,1,a" + end).encode()
        for chunk_bytes in (1 << 30, len(data) - 8 - len(end), len(data) - 9 - len(end)):
            found = campaign(data, chunk_bytes=chunk_bytes)
            assert [row.line for row in found] == [2, 3]
            assert found[-1].end == len(data)
            assert found[0].errors and not found[1].errors


def test_a_quotation_may_have_as_many_lines_as_a_row_may_have() -> None:
    body = "\n".join(["a"] * ROW_LINES_MAX)
    assert seen(f'sms,1,"{body}"\nsms,2,b\n') == (["1", "2"], [])
    assert seen(f'sms,1,"a\n{body}"\nsms,2,b\n')[0] == ["2"]
