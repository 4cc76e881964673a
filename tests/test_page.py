"""The page of `frazil server` in headless Chromium, over jobs that run.

Every test ends with what holds for all: no error in the console, no request to another host. Pictures of all views go to `--screenshots`."""

import pathlib
import re
import shutil
import urllib.request

import pytest
from playwright.sync_api import expect, sync_playwright

from frazil import PATIENCE, wait_until
from server import Server

# Machines that test are busy.
expect.set_options(timeout=30000)

EVIL = "<img src=x onerror=document.title=1>"
ROWS_PER_SECOND = 4000

SCRIPT = f"""
CREATE TABLE bids (auction BIGINT, price BIGINT, bidder BIGINT, at TIMESTAMP(3), WATERMARK FOR at AS at - INTERVAL '1' SECOND)
WITH ('connector' = 'datagen', 'rows-per-second' = '{ROWS_PER_SECOND}', 'fields.auction.min' = '1', 'fields.auction.max' = '50',
      'fields.price.min' = '1', 'fields.price.max' = '1000', 'fields.bidder.min' = '1', 'fields.bidder.max' = '9', 'fields.at.kind' = 'now');
CREATE TABLE people (id BIGINT PRIMARY KEY, name VARCHAR, city VARCHAR);
CREATE MATERIALIZED VIEW priced AS SELECT b.auction, b.price, p.name FROM bids b JOIN people p ON b.bidder = p.id WHERE b.price > 10;
CREATE MATERIALIZED VIEW auctions AS SELECT auction, COUNT(*) AS bids, MAX(price) AS highest FROM priced GROUP BY auction;
CREATE MATERIALIZED VIEW best AS SELECT auction, highest FROM auctions ORDER BY highest DESC, auction LIMIT 10;
CREATE TABLE "{EVIL}" (id BIGINT PRIMARY KEY, text VARCHAR);
INSERT INTO "{EVIL}" VALUES (1, '<b onclick=x>bold</b>'), (2, NULL);
CREATE MATERIALIZED VIEW cities AS SELECT city, COUNT(*) AS people FROM people GROUP BY city
"""

VIEWS = {
    "overview": "",
    "jobs": "jobs",
    "job": "jobs/auctions",
    "failed-job": "jobs/loaded",
    "tables": "tables",
    "table": "tables/people",
    "lineage": "lineage",
    "sql": "sql",
}


def define(server, directory):
    """Jobs that run, and one that fails at a file that comes while it runs."""
    prices = directory / "prices"
    prices.mkdir()
    (prices / "1.csv").write_text("1,10\n2,20\n")
    with server.connect(autocommit=True) as connection:
        for statement in SCRIPT.split(";\n"):
            connection.execute(statement)
        names = ["Ada", "Grace", "Edsger", "Barbara", "Donald", "Tony", "Leslie", "Jim", "Frances"]
        for i, name in enumerate(names, 1):
            connection.execute("INSERT INTO people VALUES (%s, %s, %s)", (i, name, None if i == 3 else ["Oslo", "Rome"][i % 2]))
        options = f"'connector' = 'filesystem', 'path' = '{prices}', 'format' = 'csv', 'source.monitor-interval' = '100ms'"
        connection.execute(f"CREATE TABLE prices (id BIGINT, price BIGINT) WITH ({options})")
        connection.execute("CREATE MATERIALIZED VIEW loaded AS SELECT * FROM prices")
        (prices / "2.csv").write_text("3,30\n4,twelve\n")
        failed = lambda: any("failed" in row for row in connection.execute("SHOW JOBS").fetchall())
        wait_until(failed, "the job has failed")


@pytest.fixture(scope="module")
def url(server, tmp_path_factory):
    define(server, tmp_path_factory.mktemp("data"))
    return server.url()


@pytest.fixture(scope="module")
def chromium():
    program = shutil.which("chromium")
    assert program, "chromium is missing: scripts/test installs it"
    with sync_playwright() as playwright:
        # Tests may run as root and in containers with little shared memory.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class Watch:
    """A page whose complaints and requests are kept."""

    def __init__(self, browser, **options):
        self.context = browser.new_context(viewport={"width": 1280, "height": 820}, reduced_motion="reduce", **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(30000)
        self.complaints = []
        self.hosts = set()
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: message.type in ("error", "warning") and self.complaints.append(message.text))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def forgive(self, pattern):
        """A complaint that the test provokes. Chromium itself notes every answer with an error status."""
        left = [complaint for complaint in self.complaints if not re.search(pattern, complaint)]
        assert len(left) < len(self.complaints), f"nothing like {pattern} in {self.complaints}"
        self.complaints = left


@pytest.fixture
def watch(chromium, url):
    watch = Watch(chromium)
    yield watch
    watch.context.close()
    assert watch.complaints == []
    assert watch.hosts == {url.removeprefix("http://")}


@pytest.fixture
def page(watch, url):
    watch.page.goto(f"{url}/")
    return watch.page


def go(page, where):
    page.evaluate("where => { location.hash = '#/' + where }", where)


def number(text):
    """What a shown number means: "4.02k/s" is 4020."""
    found = re.match(r"([\d.,]+)\s*([kMG]?)", text)
    return float(found[1].replace(",", "")) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]] if found else 0


def focused(page):
    return page.evaluate("document.activeElement.textContent.trim()")


def test_the_overview_shows_what_failed_first_and_every_job(page):
    alarm = page.locator("main .alarm")
    expect(alarm).to_contain_text("loaded")
    expect(alarm).to_contain_text("twelve")
    jobs = page.get_by_role("table", name="Jobs")
    for name in ("priced", "auctions", "best", "cities", "loaded"):
        expect(jobs.locator("tr", has=page.get_by_role("link", name=name, exact=True))).to_have_count(1)
    expect(jobs.locator("tbody tr").first).to_contain_text("failed")
    assert alarm.bounding_box()["y"] < page.locator(".tiles").bounding_box()["y"], "what failed stands above everything else"
    expect(page).to_have_title(re.compile(r"^\(1 failed\) Overview"))
    rate = page.locator(".tile", has_text="Rows in").locator(".tile-value")
    wait_until(lambda: number(rate.inner_text()) > ROWS_PER_SECOND / 4, "the rate is shown")
    assert number(page.locator(".tile", has_text="Memory").locator(".tile-value").inner_text()) > 0


def test_the_dataflow_has_the_operators_and_their_rates(page):
    go(page, "jobs/auctions")
    operators = page.locator(".operator")
    expect(operators.first).to_be_visible()
    kinds = page.locator(".operator .node-kind").all_inner_texts()
    for kind in ("source", "join", "aggregate", "top-n", "output"):
        assert kind in kinds, kinds
    fed = [kind for kind in kinds if kind not in ("source", "table")]
    assert page.locator(".edge").count() >= len(fed), "what is no source has an input"
    source = page.locator(".operator", has_text="bids").first
    wait_until(lambda: number(source.locator(".node-rate").inner_text()) > ROWS_PER_SECOND / 4, "the source's rate is shown")
    join = page.locator(".operator", has=page.locator(".node-kind", has_text=re.compile("^join$"))).first
    wait_until(lambda: re.search(r"[1-9].* → [1-9]", join.locator(".node-rate").inner_text()), "the join's rates are shown")
    expect(join.locator(".node-state")).to_have_text(re.compile(r"[1-9].*B"))
    # No operator stands on another.
    boxes = [operators.nth(i).bounding_box() for i in range(operators.count())]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a["x"] >= b["x"] + b["width"] or b["x"] >= a["x"] + a["width"] or a["y"] >= b["y"] + b["height"] or b["y"] >= a["y"] + a["height"]
    join.click()
    inspector = page.locator(".inspector")
    expect(inspector).to_contain_text("Back-pressure")
    expect(inspector).to_contain_text(re.compile("State.*[1-9].* rows"))
    page.keyboard.press("Escape")
    expect(inspector).to_have_count(0)
    shared = operators.count()
    page.get_by_label("Only this job").check()
    expect(page.locator(".operator.far")).to_have_count(0)
    assert 0 < operators.count() < shared


def test_checkpoints_and_definition_of_a_job(page):
    go(page, "jobs/auctions")
    rows = page.get_by_role("table", name="Checkpoints").locator("tbody tr")
    wait_until(lambda: rows.count() > 2, "checkpoints are listed")
    assert page.locator(".bars").first.locator(".bar").count() > 2
    expect(page.get_by_role("region", name="Definition")).to_contain_text("max(price)")


def test_a_job_is_paused_and_resumed_after_a_question(page):
    go(page, "jobs/cities")
    state = page.locator(".view-head .status")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(state).to_have_text("running")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(state).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(state).to_have_text("running")


def test_a_failed_job_says_why(page):
    go(page, "jobs/loaded")
    expect(page.locator(".alarm")).to_contain_text("twelve")
    expect(page.get_by_role("button", name="Restart")).to_be_visible()


def test_tables_have_schema_rows_versions_and_files(page):
    go(page, "tables")
    row = page.get_by_role("table", name="Tables").locator("tr", has_text="people").first
    expect(row).to_contain_text("table")
    row.get_by_role("link", name="people").click()
    columns = page.get_by_role("table", name="Columns").locator("tbody tr")
    expect(columns).to_have_count(3)
    expect(columns.first).to_contain_text(re.compile("id.*BIGINT.*key"))
    sample = page.get_by_role("region", name="Sample rows")
    expect(sample.locator("tbody tr")).to_have_count(9)
    expect(sample).to_contain_text("Frances")
    expect(sample.locator("td.null")).to_have_count(1)
    assert page.get_by_role("table", name="Versions").locator("tbody tr").count() > 0
    assert page.get_by_role("table", name="Files").locator("tbody tr").count() > 0
    expect(page.locator(".facts")).to_contain_text("cities")


def test_the_lineage_is_a_graph_that_leads_to_its_tables(page):
    go(page, "lineage")
    for name in ("bids", "people", "priced", "auctions", "best", "cities"):
        expect(page.locator(".node", has=page.locator(".node-name", has_text=re.compile(f"^{name}$")))).to_have_count(1)
    assert page.locator(".edge").count() >= 5
    expect(page.locator(".node.failed")).to_contain_text("loaded")
    page.locator(".node", has_text="auctions").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("auctions")


def test_names_and_values_are_text_and_never_markup(watch, page):
    name = page.get_by_role("link", name=EVIL, exact=True)
    for view in ("tables", "lineage"):
        go(page, view)
        expect(page.locator("main").get_by_text(EVIL, exact=True).first).to_be_visible()
    go(page, "tables")
    name.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(EVIL)
    expect(page.get_by_role("region", name="Sample rows")).to_contain_text("<b onclick=x>bold</b>")
    go(page, "sql")
    page.locator(".sheet-tables").get_by_role("button", name=EVIL).click()
    expect(page.get_by_label("SQL", exact=True)).to_have_value(f'"{EVIL}"')
    assert page.locator("main img, main b[onclick]").count() == 0
    assert not page.title().startswith("1")
    refused = page.evaluate("() => { try { document.body.innerHTML = '<p>'; return false } catch (e) { return e.name } }")
    assert refused == "TypeError", "the policy lets no script make markup of text"
    watch.forgive("TrustedHTML")


def run(page, sql):
    editor = page.get_by_label("SQL", exact=True)
    editor.fill(sql)
    editor.press("Control+Enter")


def test_the_editor_runs_statements_and_shows_rows_charts_and_notices(watch, page):
    watch.context.grant_permissions(["clipboard-read", "clipboard-write"])
    go(page, "sql")
    run(page, "SELECT id, name, city FROM people ORDER BY id")
    grid = page.locator(".grid-rows")
    expect(grid.locator("tbody tr.fixed")).to_have_count(9)
    expect(grid.locator("tr.fixed").nth(2)).to_contain_text("EdsgerNULL")
    expect(grid.locator("td.null")).to_have_count(1)
    expect(grid.locator("tr.fixed").first.locator("td").nth(1)).to_have_css("text-align", "right")
    expect(page.locator(".editor-time")).to_have_text(re.compile(r"took \d"))
    page.get_by_role("button", name="Copy CSV").click()
    expect(page.locator(".toast")).to_contain_text("9 rows copied")
    assert page.evaluate("navigator.clipboard.readText()").splitlines()[:4] == ["id,name,city", "1,Ada,Rome", "2,Grace,Oslo", "3,Edsger,"]
    run(page, "SELECT city, COUNT(*) AS n FROM people WHERE city IS NOT NULL GROUP BY city ORDER BY city; SELECT 1 AS one")
    expect(page.locator(".outcomes .panel")).to_have_count(2)
    page.get_by_role("button", name="Chart").click()
    expect(page.locator(".chart-bars rect")).to_have_count(2)
    page.get_by_label("Chart", exact=True).select_option("line")
    expect(page.locator(".chart-line")).to_have_count(1)
    # Only what is in sight is in the page.
    run(page, "SELECT value AS n FROM generate_series(1, 5000) ORDER BY n")
    expect(page.locator(".panel-head .note")).to_contain_text("only the first 1,000 rows")
    assert page.locator(".grid-rows tr.fixed").count() < 100
    page.locator(".grid-box").evaluate("box => { box.scrollTop = box.scrollHeight }")
    expect(page.locator(".grid-rows tr.fixed").last).to_contain_text("1000")


def test_an_error_is_marked_where_it_is(watch, page):
    go(page, "sql")
    run(page, "SELECT 1 AS one;\nSELECT *\n  FROM nowhere")
    error = page.get_by_role("region", name="Error")
    expect(error).to_contain_text("nowhere")
    expect(error).to_contain_text("Hint")
    expect(error).to_contain_text("line 3, column 8")
    expect(page.locator(".editor-text .sql-wrong")).to_have_text("nowhere")
    expect(page.locator(".excerpt")).to_have_text(re.compile("FROM nowhere\n +\\^{7}$"))
    page.get_by_role("button", name="line 3, column 8").click()
    assert page.evaluate("() => { const e = document.activeElement; return e.value.slice(e.selectionStart, e.selectionEnd) }") == "nowhere"
    watch.forgive("status of 400")


def test_a_running_statement_is_cancelled(watch, page):
    go(page, "sql")
    run(page, "SELECT COUNT(*) FROM generate_series(1, 100000000) AS a(x) CROSS JOIN generate_series(1, 100000) AS b(y) WHERE x % 7 = y % 5")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".outcomes")).to_contain_text("cancelled after")
    run(page, "SELECT 2 AS two")
    expect(page.locator(".grid-rows tr.fixed")).to_have_count(1)


def test_everything_is_reached_with_the_keyboard(page):
    keys = page.keyboard
    expect(page.get_by_role("table", name="Jobs")).to_be_visible()
    keys.press("Tab")
    assert focused(page) == "Skip to content"
    keys.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for letter, title in (("j", "Jobs"), ("t", "Tables"), ("l", "Lineage"), ("o", "Overview")):
        keys.press("g")
        keys.press(letter)
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        assert page.evaluate("document.activeElement.tagName") == "H1", "a new view is read from its heading"
    keys.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    keys.press("g")
    keys.press("t")
    expect(page.get_by_role("table", name="Tables")).to_be_visible()
    keys.press("/")
    keys.type("auct")
    expect(page.locator("tbody tr")).to_have_count(1)
    keys.press("Escape")
    keys.press("j")
    assert focused(page) == "auctions"
    ring = page.evaluate("getComputedStyle(document.activeElement, '::after').outlineStyle")
    assert ring == "solid", "the focus is seen"
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("auctions")
    keys.press("g")
    keys.press("j")
    expect(page.get_by_role("table", name="Jobs")).to_be_visible()
    keys.press("j")
    keys.press("Enter")
    page.locator(".operator").first.focus()
    first = page.evaluate("document.activeElement.dataset.id")
    keys.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.id") != first
    keys.press("Enter")
    expect(page.locator(".inspector")).to_be_visible()
    keys.press("Escape")
    keys.press("g")
    keys.press("s")
    expect(page.get_by_label("SQL", exact=True)).to_be_focused()
    keys.type("SELECT 40 + 2 AS answer")
    keys.press("Control+Enter")
    expect(page.locator(".grid-rows tr.fixed")).to_contain_text("42")
    keys.press("Control+a")
    keys.type("SELECT 1")
    keys.press("Tab")
    expect(page.get_by_label("SQL", exact=True)).to_have_value("SELECT 1  ")
    keys.press("Alt+ArrowUp")
    expect(page.get_by_label("SQL", exact=True)).to_have_value("SELECT 40 + 2 AS answer")
    keys.press("Escape")
    keys.press("Tab")
    assert focused(page).startswith("Run")


def test_a_lost_connection_is_said_and_nothing_old_looks_live(chromium, tmp_path):
    server = Server(tmp_path)
    watch = Watch(chromium)
    page = watch.page
    page.goto(server.url("/"))
    expect(page.locator(".connection")).to_contain_text("Live")
    server.kill()
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("Connection lost")
    expect(banner).to_contain_text(re.compile(r"What is shown is from \d\d:\d\d:\d\d"))
    expect(page.locator("main.stale .view")).to_have_css("opacity", "0.55")
    expect(page.locator(".connection")).not_to_contain_text("Live")
    server.start()
    expect(page.locator(".connection")).to_contain_text("Live")
    expect(page.locator(".banner")).to_have_count(0)
    expect(page.locator("main.stale")).to_have_count(0)
    watch.forgive("ERR_CONNECTION|ERR_EMPTY|Failed to load")
    watch.context.close()
    assert watch.complaints == []
    assert server.stop() == 0


def brightness(page, selector):
    colour = page.locator(selector).evaluate("e => getComputedStyle(e).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_colours_follow_the_system_and_the_switch(page):
    expect(page.locator(".tiles")).to_be_visible()
    assert brightness(page, "html") > 200
    page.emulate_media(color_scheme="dark")
    assert brightness(page, "html") < 60
    page.keyboard.press("Shift+T")
    assert brightness(page, "html") > 200
    page.reload()
    expect(page.locator(".tiles")).to_be_visible()
    assert brightness(page, "html") > 200, "the choice is kept"
    page.keyboard.press("Shift+T")
    page.emulate_media(color_scheme="light")
    assert brightness(page, "html") < 60


# What is too faint to read: texts whose colour differs too little from what is behind them (WCAG 2, AA).
TOO_FAINT = """() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return text.startsWith('color(') ? n.slice(0, 3).map((c) => c * 255).concat(n[3] ?? 1) : [...n.slice(0, 3), n[3] ?? 1] };
  const light = ([r, g, b]) => [r, g, b].map((c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 }).reduce((s, c, i) => s + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0.99) return c } return [255, 255, 255, 1] };
  const faint = new Set();
  for (const e of document.querySelectorAll('#app *')) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest('svg, .far, .editor, [disabled]')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.add(`${e.className || e.tagName}: ${e.textContent.slice(0, 30)}`);
  }
  return [...faint];
}"""


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 700])
def test_every_view_fits_and_can_be_read(request, tmp_path, watch, page, colours, width):
    pictures = pathlib.Path(request.config.getoption("--screenshots") or tmp_path)
    pictures.mkdir(parents=True, exist_ok=True)
    page.emulate_media(color_scheme=colours)
    page.set_viewport_size({"width": width, "height": 820})
    for view, where in VIEWS.items():
        go(page, where)
        expect(page.locator("main .loading")).to_have_count(0)
        if view == "sql":
            run(page, "SELECT auction, bids, highest\nFROM auctions -- every auction\nWHERE highest > 100 ORDER BY auction;")
            expect(page.locator(".grid-rows tr.fixed").first).to_be_visible()
            if width == 1280:
                page.get_by_role("button", name="Chart").click()
                page.get_by_label("Y", exact=True).select_option("1")
        # Rates need two polls.
        page.wait_for_timeout(2500)
        page.screenshot(path=pictures / f"{view}-{colours}-{width}.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{view} is {wide} px too wide"
        assert page.evaluate(TOO_FAINT) == [], view
        nameless = page.evaluate("[...document.querySelectorAll('button, a')].filter((e) => !e.textContent.trim() && !e.ariaLabel).length")
        assert nameless == 0, view


def test_the_page_comes_with_a_policy_and_is_not_sent_twice(server, url):
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy, tag = answer.headers["content-security-policy"], answer.headers["etag"]
        text = answer.read().decode()
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for path in re.findall(r'(?:src|href)="(/assets/[^"]+)"', text):
        with urllib.request.urlopen(url + path) as answer:
            kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[path.rsplit(".")[-1]]
            assert answer.headers["content-type"].startswith(kind)
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(urllib.request.Request(url, headers={"if-none-match": tag}), timeout=PATIENCE)
    assert raised.value.code == 304
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{url}/assets/nothing.js")
    assert raised.value.code == 404
