"""The report in a real browser: nothing leaves or breaks, rows are picked by mouse and keys, hostile names do nothing.

Chromium and its driver are looked up on the path; without them these tests are skipped.
"""

import base64
import json
import shutil
import time
from io import BytesIO

import pandas as pd
import pytest
from matplotlib.image import imread

import shapae
from tests import cases
from tests.report.pages import HOSTILE, Page, explainer, rows, wide

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no chromium with its chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--disable-dev-shm-usage"),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.get("about:blank")
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report with all its parts."""
    made, X, model = explainer(), rows(30), cases.build(cases.Question)
    return made(X).report(
        tmp_path_factory.mktemp("report") / "report.html",
        explainer=made,
        others=[explainer("latent")(X)],
        latents=shapae.latents(model, X, background=X),
        ranking=shapae.rank_features(model, X, background=X, methods=["shap", "gradient_x_input"]),
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report in which every name is one of the worst, and long ones have no spaces."""
    names = [*HOSTILE[:5], "a_name_without_any_space_" * 3]
    explanation = explainer(columns=HOSTILE)(pd.DataFrame(cases.table(6), names, HOSTILE))
    other = explainer("feature_error", columns=HOSTILE)(pd.DataFrame(cases.table(6), names, HOSTILE))
    path = tmp_path_factory.mktemp("hostile") / "report.html"
    return explanation.report(path, others=[other], title=HOSTILE[0])


def open_page(browser, path, width=1600, dark=False):
    """Open a page, without the logs of earlier ones."""
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    theme = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce"},  # a click does not wait until a page has scrolled
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})
    for log in ("performance", "browser"):
        browser.get_log(log)
    browser.get(path.as_uri())


def requests(browser):
    """Addresses that the page asked for."""
    messages = (json.loads(each["message"])["message"] for each in browser.get_log("performance"))
    return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


def picker(browser):
    """The list, the two buttons and the story of the first picker."""
    box = browser.find_element(By.CSS_SELECTOR, ".picker")
    return box.find_element(By.TAG_NAME, "select"), *box.find_elements(By.TAG_NAME, "button"), box


def story(browser):
    """The cells of the table of the row that is picked."""
    return [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, ".picker .story :is(caption, th, td)")]


@pytest.mark.parametrize("name", ["report", "hostile"])
def test_no_request_leaves_and_the_console_stays_empty(name, browser, request):
    path = request.getfixturevalue(name)
    open_page(browser, path)
    select, previous, following, _ = picker(browser)
    for _ in range(3):
        following.click()
    assert [url for url in requests(browser) if not url.startswith("data:,")] == [path.as_uri()]
    assert browser.get_log("browser") == []


def test_a_row_is_picked_by_mouse(browser, report):
    open_page(browser, report)
    select, previous, following, box = picker(browser)
    data = Page.of(report).data()
    assert box.is_displayed()
    assert not previous.is_enabled()
    following.click()
    assert story(browser)[0] == data["rows"][1]["sentence"]
    previous.click()
    assert story(browser)[0] == data["rows"][0]["sentence"]
    select.find_elements(By.TAG_NAME, "option")[-1].click()
    assert story(browser)[0] == data["rows"][-1]["sentence"]
    assert not following.is_enabled()


def test_a_row_is_picked_by_keys(browser, report):
    open_page(browser, report)
    select, previous, following, _ = picker(browser)
    rows_of = Page.of(report).data()["rows"]
    label = browser.find_element(By.CSS_SELECTOR, f"label[for={select.get_attribute('id')}]")
    assert label.text == "Row, largest scores first"
    select.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert story(browser)[0] == rows_of[2]["sentence"]
    select.send_keys(Keys.TAB)
    assert browser.switch_to.active_element == previous
    previous.send_keys(Keys.ENTER)
    assert story(browser)[0] == rows_of[1]["sentence"]
    previous.send_keys(Keys.TAB)
    assert browser.switch_to.active_element == following
    following.send_keys(Keys.SPACE)
    assert story(browser)[0] == rows_of[2]["sentence"]


@pytest.mark.parametrize("name", ["report", "hostile"])
def test_the_script_draws_the_tables_that_are_there_without_it(name, browser, request):
    """Two independent ways to the same words and the same bars: the template's and the script's."""
    open_page(browser, request.getfixturevalue(name))
    _, _, following, _ = picker(browser)
    bars = "[...{}.querySelectorAll('rect')].map(r => ['class', 'x', 'width'].map(a => r.getAttribute(a)))"
    for table in browser.find_elements(By.CSS_SELECTOR, "details > .waterfall"):
        browser.execute_script("arguments[0].parentElement.open = true", table)
        assert story(browser) == [cell.text for cell in table.find_elements(By.CSS_SELECTOR, "caption, th, td")]
        want = browser.execute_script(f"return {bars.format('arguments[0]')}", table)
        found = browser.execute_script(f"return {bars.format('document.querySelector(`.story`)')}")
        assert [each[0] for each in found] == [each[0] for each in want]
        for one, other in zip(found, want, strict=True):
            assert [*map(float, one[1:])] == pytest.approx([*map(float, other[1:])], abs=0.1)
        following.click()


def test_hostile_names_do_nothing(browser, hostile):
    browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "window.calls = []; window.alert = (x) => calls.push(x);"}
    )
    open_page(browser, hostile)
    _, _, following, _ = picker(browser)
    for _ in range(5):
        following.click()
    assert browser.execute_script("return [window.calls, window.hacked === undefined]") == [[], True]
    assert (
        browser.execute_script("return document.querySelectorAll('img, iframe, object, embed, style ~ style').length")
        == 0
    )
    assert browser.execute_script("return document.scripts.length") == 2
    assert "<img src=x onerror=alert(1)>" in " ".join(story(browser))


@pytest.mark.parametrize("name", ["report", "hostile"])
@pytest.mark.parametrize("width", [400, 740, 1000, 1600])
def test_the_page_fits_its_width(name, width, browser, request):
    """The page does not scroll sideways, and no text leaves it."""
    open_page(browser, request.getfixturevalue(name), width)
    browser.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = browser.execute_script(
        "return [...document.querySelectorAll('main :is(p, td, th, h2, h3, caption, figcaption, li)')]"
        ".filter(e => !e.closest('.scroll') && e.getClientRects().length)"
        ".filter(e => { const r = e.getBoundingClientRect(); return r.right > innerWidth || r.left < 0; })"
        ".map(e => e.textContent)"
    )
    assert outside == []


@pytest.mark.parametrize("feature", ["a name of some length {}", "vibration_of_the_{}_bearing"])
@pytest.mark.parametrize("width", [400, 740, 1000, 1600])
def test_no_column_is_so_narrow_that_its_words_break(width, feature, browser, tmp_path):
    """Numbers of many digits leave the least room: those between 0.0001 and 0.001. Long names may break."""
    explanation = wide(20, 30, scale=1e-3, row="2026-11-27 10:07:{:02d}", feature=feature)
    open_page(browser, explanation.report(tmp_path / "report.html"), width)
    broken = browser.execute_script(
        "const pen = document.createElement('canvas').getContext('2d');"
        "const tables = ['.bars', '.waterfall', '.checks', '.worst'].map(name => `${name} :is(td, th)`).join();"
        "const words = e => e.textContent.split(/\\s+/).filter(word => word.length < 13);"
        "const widths = e => { pen.font = getComputedStyle(e).font;"
        " return words(e).map(word => pen.measureText(word).width); };"
        "return [...document.querySelectorAll(tables)].filter(e => e.getClientRects().length)"
        ".filter(e => Math.max(0, ...widths(e)) > e.clientWidth + 1).map(e => e.textContent)"
    )
    assert broken == []


def luminance(picture):
    """Mean brightness of the first screen, 0 to 1, and its spread."""
    pixels = imread(BytesIO(picture))[..., :3]
    return pixels.mean(), pixels.std()


def test_the_page_is_dark_where_the_reader_wants_it(browser, report):
    open_page(browser, report)
    light, spread = luminance(browser.get_screenshot_as_png())
    open_page(browser, report, dark=True)
    dark, other = luminance(browser.get_screenshot_as_png())
    assert light > 0.8
    assert dark < 0.3
    assert min(spread, other) > 0.05


def test_texts_are_dark_enough_on_their_ground(browser, report):
    """At least the contrast of 4.5 to 1 that WCAG 2.1, 1.4.3 asks for, in both schemes."""
    script = """
        const of = (color) => { const c = document.createElement('canvas').getContext('2d'); c.fillStyle = color;
          c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => { v /= 255;
          return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); };
        const light = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
        const style = getComputedStyle(document.documentElement);
        const value = (name) => light(of(style.getPropertyValue(name)));
        const texts = ['--ink', '--soft', '--accent', '--fine', '--look'], grounds = ['--paper', '--card'];
        return texts.flatMap((text) => grounds.map((ground) => {
          const pair = [value(text), value(ground)].sort((a, b) => b - a);
          return (pair[0] + 0.05) / (pair[1] + 0.05); }));
    """
    for dark in (False, True):
        open_page(browser, report, dark=dark)
        assert min(browser.execute_script(script)) >= 4.5


def test_a_screen_reader_gets_names_for_everything(browser, report):
    open_page(browser, report)
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    nodes = [each for each in tree if not each.get("ignored")]
    unnamed = [
        each["role"]["value"]
        for each in nodes
        if each["role"]["value"] in ("image", "button", "combobox", "link", "region", "navigation", "heading")
        and not each["name"]["value"].strip()
    ]
    assert unnamed == []
    assert {"figure", "table", "rowheader", "columnheader", "main", "banner"} <= {
        each["role"]["value"] for each in nodes
    }


def test_the_report_is_read_without_javascript(browser, report):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, report)
        tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    names = [each["name"]["value"] for each in tree if not each.get("ignored") and "name" in each]
    first = Page.of(report).data()["rows"][0]
    assert first["sentence"] in names
    assert any(name.startswith("The picker of rows needs JavaScript") for name in names)
    assert not any(each.get("role", {}).get("value") == "combobox" for each in tree if not each.get("ignored"))


def test_it_prints_with_all_tables_open(browser, report):
    open_page(browser, report)
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed.startswith(b"%PDF")
    assert 3 <= printed.count(b"/Type /Page\n") <= 30
    assert browser.execute_script("return [...document.querySelectorAll('details')].every(each => each.open)")


def test_a_table_is_downloaded(browser, report, tmp_path):
    open_page(browser, report)
    settings = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", settings)
    browser.find_element(By.CSS_SELECTOR, "a[download='scores.csv']").click()
    file, until = tmp_path / "scores.csv", time.monotonic() + 10
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)
    want = dict(Page.of(report).tables())["scores.csv"]
    pd.testing.assert_frame_equal(pd.read_csv(file, index_col=0), want)
