"""The page in a browser, as somebody would use it, wide and on a phone. It makes the pictures of the documentation."""

import io
import json
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from support.browser import NARROW, WIDE, browser, keep, needs_browser, serious, until, watched
from werkzeug.serving import make_server

from explorer.__main__ import Quiet
from explorer.cells.changes import begin
from explorer.library import Library
from explorer.view import View, parse
from explorer.web.app import TEXTS, make_app
from wdmoe_env import load_scenario
from wdmoe_env.envs.actions import PriceAction
from wdmoe_env.texts import load_texts

pytestmark = [needs_browser, pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("explorer")]
IDLE = "window.explorer && explorer.drawn > 0 && !explorer.busy"
PROVED = f"{IDLE} && explorer.done"
SIZES = {"wide": WIDE, "narrow": NARROW}


@pytest.fixture(scope="module")
def home():
    server = make_server(
        "127.0.0.1", 0, make_app(Library(), View(), frozenset({"127.0.0.1"})), threaded=True, request_handler=Quiet
    )
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(params=SIZES)
def page(chromium, home, request):
    with watched(chromium, SIZES[request.param], home) as opened:
        opened.width = request.param
        yield opened


def cell_of(page, name):
    """The values of a row of the table."""
    rows = page.locator("#table tr").all()
    return next(row.locator("td").all_inner_texts() for row in rows if row.locator("th").first.inner_text() == name)


def drawn(page, act):
    """Do something, and wait until it is drawn."""
    before = page.evaluate("explorer.drawn")
    act()
    until(page, f"explorer.drawn > {before} && !explorer.busy")


def set_range(page, selector, value):
    """Move a slider as the browser does while it is dragged."""
    script = "([place, value]) => { const s = document.querySelector(place); s.value = value;"
    page.evaluate(f"{script} s.dispatchEvent(new Event('input', {{ bubbles: true }})); }}", [selector, value])


def simulated(pieces):
    """Metrics of the layers of `paper`, seed 0, that prices by hand bring."""
    scenario = load_scenario("paper")
    simulator, codec, found = begin(scenario, 0, {}), PriceAction(scenario), {}
    for step, price in pieces.items():
        while simulator.steps < step:
            simulator.step(codec.decode(np.full((1, 8), -1.0), simulator.observation))
        action = 2 * np.array([price]) - 1
        found[step] = simulator.preview(codec.decode(action, simulator.observation))
    return found


def test_it_opens_steps_scrubs_and_plays(page, home):
    page.goto(home + "?a=wdmoe&b=price")
    until(page, PROVED)
    assert page.locator("#fault").is_hidden()
    assert page.locator("#map-0 .device").count() == 8
    drawn(page, page.locator("[data-go=next]").click)
    assert parse(page.url.partition("?")[2]).step == 1
    assert "layer 2 of 32" in page.locator("#where").inner_text()
    drawn(page, lambda: set_range(page, "#step", 20))
    assert parse(page.url.partition("?")[2]).step == 20
    page.keyboard.press("Escape")
    page.locator("body").click(position={"x": 3, "y": 3})
    drawn(page, lambda: page.keyboard.press("ArrowLeft"))
    assert "step=19" in page.url
    drawn(page, lambda: page.keyboard.press("Home"))
    page.locator("#play").click()
    until(page, "new URLSearchParams(location.search).get('step') >= 3")
    page.locator("#play").click()
    until(page, IDLE)
    stopped = page.url
    page.wait_for_timeout(900)
    assert page.url == stopped
    drawn(page, lambda: page.keyboard.press("Tab") or page.locator("[data-go=last]").click())
    assert "step=31" in page.url
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_price_by_hand_does_what_the_simulator_says(page, home, tmp_path):
    page.goto(home + "?a=top-k%2Bbandwidth&b=price&step=5")
    until(page, PROVED)
    before = cell_of(page, "Latency, ms")
    drawn(page, lambda: set_range(page, "#price-3", 0.8))
    drawn(page, lambda: set_range(page, "#price-0", 0.35))
    view = parse(page.url.partition("?")[2])
    price = list(view.pieces[0].price)
    assert (price[3], price[0]) == (0.8, 0.35)
    after = cell_of(page, "Latency, ms")
    metrics = simulated({5: price})[5]
    assert after[:2] == before
    assert after[2] == f"{1e3 * metrics['latency'][0]:.4g}"
    assert cell_of(page, "Retained gate mass")[2] == f"{metrics['retained_mass'][0]:.3f}"
    until(page, PROVED)
    assert cell_of(page, "Of the proven most")[2].endswith("%")
    if page.width == "wide":
        keep(page, "explorer-take-over", tmp_path)
    drawn(page, page.locator("#back").click)
    assert len(cell_of(page, "Latency, ms")) == 2


def test_dragging_with_the_mouse_is_a_price_too(page, home):
    page.goto(home + "?a=top-k&b=price")
    until(page, IDLE)
    slider = page.locator("#price-2")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2

    def drag():
        page.mouse.move(box["x"] + 8, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, middle, steps=6)
        page.mouse.up()

    drawn(page, drag)
    until(page, IDLE)
    assert 0.4 < parse(page.url.partition("?")[2]).pieces[0].price[2] < 0.6


def test_a_share_by_hand_takes_from_the_others(page, home):
    page.goto(home + "?a=top-k&b=price")
    until(page, IDLE)
    drawn(page, lambda: set_range(page, "#share-6", 0.5))
    share = parse(page.url.partition("?")[2]).pieces[0].share
    assert share is not None
    assert share[6] == 0.5
    assert sum(share) == pytest.approx(1.0, abs=2e-3)
    drawn(page, page.locator("#exact").click)
    assert parse(page.url.partition("?")[2]).pieces[0].share is None


def test_the_cell_can_be_changed_and_is_as_it_was_again(page, home):
    page.goto(home + "?a=top-k&b=price")
    until(page, PROVED)
    before = cell_of(page, "Latency, ms")
    page.locator("#changes summary").click()
    for field, value in (("#bandwidth", "50"), ("#distance-1", "250"), ("#speed-0", "2")):
        drawn(page, lambda field=field, value=value: (page.locator(field).fill(value), page.keyboard.press("Tab")))
    view = parse(page.url.partition("?")[2])
    assert (view.band, view.distance, view.speed) == (5e7, {1: 250.0}, {0: 2.0})
    assert float(cell_of(page, "Latency, ms")[0]) > 1.5 * float(before[0])
    drawn(page, page.locator("#as-drawn").click)
    assert cell_of(page, "Latency, ms") == before


def test_a_link_holds_the_state(page, home, chromium):
    page.goto(home + "?a=top-k&b=price&step=7")
    until(page, IDLE)
    drawn(page, lambda: set_range(page, "#price-1", 0.6))
    table = page.locator("#table").inner_text()
    with watched(chromium, WIDE, home) as other:
        other.goto(page.url)
        until(other, PROVED)
        until(page, PROVED)
        assert cell_of(other, "Latency, ms") == cell_of(page, "Latency, ms")
        assert "You" in table


def test_it_speaks_chinese(page, home, tmp_path):
    page.goto(home + "?a=wdmoe&b=price&step=3")
    until(page, PROVED)
    latency = cell_of(page, "Latency, ms")
    page.locator("#language").click()
    until(page, PROVED)
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert cell_of(page, load_texts(TEXTS, "zh")["layer_latency"]) == latency
    if page.width == "narrow":
        keep(page, "explorer-zh", tmp_path)
    page.locator("#language").click()
    until(page, PROVED)
    assert cell_of(page, "Latency, ms") == latency


def test_it_exports_what_it_shows(page, home):
    page.goto(home + "?a=wdmoe&b=price&step=2")
    until(page, PROVED)
    for name, check in (
        ("view.png", lambda blob: Image.open(io.BytesIO(blob)).size == (2560, 800)),
        ("view.gif", lambda blob: getattr(Image.open(io.BytesIO(blob)), "n_frames", 1) == 3),
        ("view.json", lambda blob: json.loads(blob)["step"] == 2),
    ):
        with page.expect_download() as waiting:
            page.locator(f"[data-export='{name}']").click()
        assert check(waiting.value.path().read_bytes()), name


def test_a_token_tells_why_it_is_dropped(page, home):
    page.goto(home + "?a=wdmoe&b=price&step=2")
    until(page, PROVED)
    page.locator("#tokens-1").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    tip = page.locator("#tip")
    assert "token 2, expert 1" in tip.inner_text()
    assert "gate weight" in tip.inner_text()
    assert "step=2" in page.url  # the arrow keys were the map's


def test_sixty_four_devices_can_be_told_apart(page, home, tmp_path):
    page.goto(home + "?scenario=cell-64&a=wdmoe&b=price")
    until(page, IDLE, 120)
    assert page.locator("#map-0 .device").count() == 64
    assert page.locator("#sliders input[type=range]").count() == 128
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    if page.width == "wide":
        keep(page, "explorer-64-devices", tmp_path)


def test_nothing_keeps_anybody_out(page, home, tmp_path):
    page.goto(home + "?a=wdmoe&b=price&step=4")
    until(page, PROVED)
    page.locator("#changes summary").click()
    assert serious(page) == []
    page.locator("#changes summary").click()
    page.evaluate("window.scrollTo(0, 0)")
    keep(page, f"explorer-{page.width}", tmp_path)
    page.goto(home + "?pane=results")
    assert serious(page) == []
