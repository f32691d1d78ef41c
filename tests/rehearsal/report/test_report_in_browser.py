"""The report as a browser shows it: nothing wider than the window, nothing asked of the network, no complaint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.report import write_report
from tests.support.browser import NAMES, Page, browser_path, open_browser
from tests.support.rehearsal_records import migration_record, migration_samples

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    path = browser_path()
    if path is None:
        # Also in continuous integration: a browser belongs to whoever reads a report, not to the product.
        pytest.skip(f"no browser is installed (looked for {', '.join(NAMES)})")
    with open_browser(path) as page:
        yield page


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(migration_record(samples=migration_samples(per_second=4)), path)
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 400, 768, 960, 1400])
def test_the_page_fits_the_window_and_asks_for_nothing(browser: Page, report: Path, width: int, dark: bool) -> None:
    browser.open(report, width=width, dark=dark)

    assert browser.value("document.documentElement.scrollWidth") <= width
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(18, 22, 27)" if dark else "rgb(255, 255, 255)")
    requests = [event["request"]["url"] for method, event in browser.events if method == "Network.requestWillBeSent"]
    assert requests == [report.as_uri()]
    complaints = [event for method, event in browser.events if method in ("Log.entryAdded", "Runtime.exceptionThrown")]
    assert complaints == []
    assert browser.screenshot().startswith(b"\x89PNG")


def test_no_letter_is_made_smaller_by_a_narrow_window(browser: Page, report: Path) -> None:
    heights = []
    for width in (320, 1400):
        browser.open(report, width=width)
        heights.append(
            browser.value("Math.min(...[...document.querySelectorAll('.scale span')].map(each => each.offsetHeight))")
        )
    assert heights[0] >= 11
    assert heights[0] >= heights[1] - 1


def test_the_arrow_keys_show_the_figures_of_a_moment_on_all_plots(browser: Page, report: Path) -> None:
    browser.open(report, width=1000)
    assert browser.value("getComputedStyle(document.getElementById('readout')).display") == "none"

    browser.value("document.getElementById('plots').focus()")
    for _ in range(3):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="PageDown")

    shown = browser.value("document.getElementById('readout').innerText").splitlines()
    # 260 s in intervals of a quarter of a second are joined by four: the thirtieth ends after 30 s.
    assert shown[0] == "Until 00:30"
    assert "Phase admitting 50 %" in shown
    assert browser.value("[...document.querySelectorAll('.cursor')].every(each => each.offsetHeight > 0)")
    assert browser.value("document.querySelectorAll('.cursor').length") == 9


def test_the_pointer_shows_the_figures_of_the_moment_under_it(browser: Page, report: Path) -> None:
    browser.open(report, width=1000)
    browser.value("document.querySelector('#plot-weights').scrollIntoView()")
    box = browser.value(
        "(() => { const box = document.querySelector('#plot-weights .area').getBoundingClientRect();"
        " return [box.left, box.top, box.width, box.height]; })()"
    )
    # In the middle of the axis, at 130 s.
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + box[2] / 2, y=box[1] + box[3] / 2)

    assert "Until 02:10" in browser.value("document.getElementById('readout').innerText")


def test_all_is_readable_without_script(browser: Page, report: Path) -> None:
    browser.open(report, width=1000, script=False)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)

    text = browser.value("document.body.innerText")
    for told in ("Not everything held", "No acknowledged payment is lost", "switching the writer", "Both write"):
        assert told in text
    drawn = browser.value("[...document.querySelectorAll('#plots svg[role=img]')].map(each => each.clientHeight)")
    assert len(drawn) == 6
    assert min(drawn) > 100


def test_a_printed_page_is_light_and_fits_a_sheet(browser: Page, report: Path) -> None:
    browser.open(report, width=1000, dark=True)
    browser.call(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    # A sheet of A4 without its margins.
    browser.call("Emulation.setDeviceMetricsOverride", width=700, height=1000, deviceScaleFactor=1, mobile=False)
    width = browser.value("document.documentElement.scrollWidth")
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    tables = browser.value("[...document.querySelectorAll('.cards thead')].every(each => each.offsetHeight > 0)")
    printed = browser.call("Page.printToPDF", printBackground=True)["data"]
    browser.call("Emulation.setEmulatedMedia", media="")

    assert width <= 700
    assert background == "rgb(255, 255, 255)"
    assert tables
    assert len(printed) > 50_000
