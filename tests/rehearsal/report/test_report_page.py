"""The report says everything that a record holds, escapes it, and needs nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rehearsal.record import Event, Promise, Record
from rehearsal.report import render, write_report
from rehearsal.report.__main__ import main
from tests.support.rehearsal_records import migration_record, migration_samples

CSS = Path(__file__).parents[3] / "rehearsal" / "report" / "report.css"
NASTY = """<script>alert("1")</script> & 'quoted' \u2028 </style> {{ 7 * 7 }} -->"""
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """The text of each row of each section, and every attribute."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.section = ""
        self.rows: dict[str, list[str]] = {}
        self.text: dict[str, str] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.title = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "section":
            self.section = dict(attrs)["aria-labelledby"] or ""
            self.rows[self.section] = []
        if tag == "tr" and "tbody" in self.open:
            self.rows[self.section].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes something else"

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["title"] and "svg" not in self.open:
            self.title += data
        if "style" in self.open or "script" in self.open:
            return
        self.text[self.section] = self.text.get(self.section, "") + data
        if "tr" in self.open and "tbody" in self.open:
            self.rows[self.section][-1] += f"{data.strip()} "


def read(record: Record) -> Reader:
    reader = Reader()
    reader.feed(render(record))
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page() -> Reader:
    return read(migration_record())


def test_every_promise_stands_with_what_was_measured_and_what_is_allowed(page: Reader) -> None:
    promises = migration_record().promises
    assert [" ".join(row.split()) for row in page.rows["promises"]] == [
        f"{each.name} {'✓ kept' if each.kept else '✗ broken'} {each.measured} {each.allowed}" for each in promises
    ]


def test_every_event_stands_in_order_with_its_number_time_kind_and_details(page: Reader) -> None:
    rows = page.rows["events"]
    for number, (event, row) in enumerate(zip(migration_record().events, rows, strict=True), 1):
        assert row.split()[:3] == [str(number), f"{int(event.at) // 60:02}:{int(event.at) % 60:02}", event.kind]
        assert event.text in row
        assert all(key in row for key in event.details)


def test_a_decision_that_was_taken_again_and_again_is_one_line_with_the_last_figures(page: Reader) -> None:
    hold, passed = page.rows["decisions"]
    assert "00:41 to 00:47" in hold
    assert "3 times in a row" in hold
    assert "requests 47" in " ".join(hold.split())
    assert "Pass." in passed
    assert "-7.12346" in passed


def test_what_was_noted_out_of_order_is_shown_in_order() -> None:
    record = migration_record()
    shuffled = migration_record(
        samples=record.samples[::-1], events=record.events[::-1], decisions=record.decisions[::-1]
    )
    assert render(shuffled) == render(record)


def test_a_fault_that_was_not_met_names_its_broken_promises(page: Reader) -> None:
    met, unmet = page.rows["faults"]
    assert "✓ passed" in met
    assert "1 of 1 promises kept." in met
    assert "✗ failed" in unmet
    assert "No request fails: 2 of 3,640, allowed 0" in unmet
    assert [" ".join(row.split()) for row in page.rows["controls"]] == [
        "No drain ✓ passed The checksums differ. They differ in 14 rows. 25 s"
    ]


def test_the_ways_to_cut_over_stand_side_by_side_with_every_figure(page: Reader) -> None:
    ours, stop, both = (" ".join(row.split()) for row in page.rows["comparison"])
    assert ours == "This cutover 3,640 0 0 0 0 612 ms 820 ms"
    assert stop == "Stop, switch, start 3,640 412 0 0 0 29.4 s 31 s Nobody can pay meanwhile."
    assert both == "Both write 3,640 0 31 57 4 0 ms not measured The later write wins."


def test_versions_and_what_was_simulated_are_named(page: Reader) -> None:
    for told in ("MariaDB", "10.11.19", "HAProxy", "AWS::WAFv2::WebACL", "AWS::Backup::BackupVault"):
        assert told in page.text["versions"]


def test_each_phase_has_a_line_with_what_its_requests_met(page: Reader) -> None:
    rows = [" ".join(row.split()) for row in page.rows["phases"] if "to" in row.split()]
    switch = next(row for row in rows if row.startswith("switching the writer 01:10 to 01:12"))
    samples = [sample for sample in migration_samples() if 70 < sample.at <= 72]
    assert switch.split()[6:9] == ["none", str(sum(sample.requests for sample in samples)), "2"]


@pytest.mark.parametrize(
    ("record", "headline", "told"),
    [
        (migration_record(), "Not everything held", "3 promises: 1 broken."),
        (migration_record(promises=[], faults=[]), "Nothing was judged", "neither promises nor faults"),
        (
            migration_record(promises=[Promise(name="One", kept=True, measured="0", allowed="0")], faults=[]),
            "Everything held",
            "1 promise: kept.",
        ),
        (
            migration_record(promises=[Promise(name="One", kept=True, measured="0", allowed="0")]),
            "Not everything held",
            "2 fault scenarios: 1 failed.",
        ),
        (
            migration_record(faults=[replace(each, passed=True) for each in migration_record().faults], promises=[]),
            "Everything held",
            "2 fault scenarios: all passed.",
        ),
    ],
)
def test_the_first_lines_say_whether_everything_held(record: Record, headline: str, told: str) -> None:
    page = read(record)
    assert page.title.endswith(headline)
    assert headline in page.text[""]
    assert told in page.text[""]


def test_nothing_of_the_record_becomes_markup() -> None:
    evil = Event(at=1, kind="fault", text=NASTY, details={NASTY: [NASTY], "number": "<b>1</b>"})
    page = read(
        migration_record(
            title=NASTY,
            scenario=NASTY,
            started_at=NASTY,
            versions={NASTY: NASTY},
            simulated=[NASTY],
            events=[evil],
            decisions=[evil],
            promises=[Promise(name=NASTY, kept=False, measured=NASTY, allowed="<3")],
            samples=[replace(sample, phase=NASTY, verdict=NASTY, writer=NASTY) for sample in migration_samples()[:3]],
        )
    )
    for section in ("", "promises", "events", "decisions", "versions", "phases"):
        assert NASTY in page.text[section], section
    assert "<3" in page.rows["promises"][0]
    assert "{{ 7 * 7 }}" in page.title
    assert len(re.findall("<script", render(migration_record(title=NASTY)))) == 1


def references(page: Reader) -> Iterator[str]:
    loading = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href", "formaction"}
    return (value for _, name, value in page.attributes if name in loading)


def test_the_page_refers_to_nothing_but_itself(page: Reader) -> None:
    targets = {value for _, name, value in page.attributes if name == "id"}
    assert {reference[:1] for reference in references(page)} == {"#"}
    assert {reference[1:] for reference in references(page)} <= targets
    text = render(migration_record())
    assert re.findall(r"https?://|url\(|@import|@font-face", text) == []


def test_the_page_forbids_itself_every_request(page: Reader) -> None:
    policies = [value for tag, name, value in page.attributes if tag == "meta" and "default-src" in value]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")


def test_every_id_is_unique_and_every_picture_has_a_name_and_a_description(page: Reader) -> None:
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for name in ("aria-labelledby", "aria-describedby"):
        assert {value for _, attribute, value in page.attributes if attribute == name} <= set(ids)
    pictures = [tag for tag, name, value in page.attributes if (tag, name, value) == ("svg", "role", "img")]
    described = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-describedby")]
    assert len(pictures) == len(described) == 6


def test_a_record_with_nothing_in_it_still_makes_a_page_that_says_so() -> None:
    empty = migration_record(
        samples=[], events=[], promises=[], decisions=[], faults=[], comparison=[], simulated=[], versions={}
    )
    page = read(empty)
    assert "No samples were taken" in page.text["plots-title"]
    assert "No promise was checked." in page.text["promises"]
    assert "No negative control ran" in page.text["controls"]


def colours() -> list[tuple[str, dict[str, str]]]:
    blocks = re.findall(r":root \{(.*?)\}", CSS.read_text(), re.DOTALL)
    names = ("light", "dark", "print")
    return [
        (name, dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)))
        for name, block in zip(names, blocks, strict=True)
    ]


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("scheme", "palette"), colours(), ids=lambda value: value if isinstance(value, str) else "")
def test_words_and_lines_stand_out_in_either_scheme_and_printed(scheme: str, palette: dict[str, str]) -> None:
    words = [(text, "page") for text in ("text", "quiet", "link", "kept", "broken")]
    words += [("text", ground) for ground in palette if ground.endswith("-soft") or ground == "surface"]
    lines = [(line, "page") for line in ("legacy", "aws", "blue", "green", "other", "fault", "rollback", "mark")]
    lines += [(f"series-{number}", "page") for number in range(4)]
    lines += [(side, f"{side}-soft") for side in ("legacy", "aws", "blue", "green")]

    assert [pair for pair in words if contrast(palette[pair[0]], palette[pair[1]]) < 4.5] == []
    assert [pair for pair in lines if contrast(palette[pair[0]], palette[pair[1]]) < 3] == []


def test_the_command_writes_the_page_of_a_stored_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored, target = tmp_path / "record.json", tmp_path / "new" / "report.html"
    stored.write_text(migration_record().to_json())

    assert main([str(stored), "-o", str(target)]) == 0
    assert target.read_text() == render(migration_record())
    assert capsys.readouterr().out == f"Written: {target}\n"


def test_the_command_refuses_what_is_no_record_in_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "record.json"
    stored.write_text('{"title": 5}')

    assert main([str(stored), "-o", str(tmp_path / "report.html")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{stored}: This is no record of a rehearsal:\n")
    assert "seed: is missing" in told
    assert not (tmp_path / "report.html").exists()


def test_the_command_names_the_file_that_cannot_be_read_or_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "missing.json")]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'missing.json'}: No such file or directory\n"

    stored = tmp_path / "record.json"
    stored.write_text(migration_record().to_json())
    assert main([str(stored), "-o", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_report_is_written_where_no_folder_is_yet(tmp_path: Path) -> None:
    write_report(migration_record(), tmp_path / "deep" / "er" / "report.html")
    assert (tmp_path / "deep" / "er" / "report.html").read_text().startswith("<!doctype html>")
