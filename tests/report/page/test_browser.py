"""The page as people use it, in a real browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stimopt.lattice import HexLattice
from stimopt.optimize.generate import StimulusGenerator
from stimopt.plotting import Figure
from stimopt.report.page import Addition, PageItem, Section, Table, write_page
from stimopt.results.three_optima import ThreeOptima
from tests.report.cases import HOSTILE, LATTICE, TUNING, ladder_of, optima_of
from tests.report.page.browser import Visit, browser
from tests.search.cases import two_networks

NAMES = ["T4c", HOSTILE, "Mi1"]


def known_optima() -> ThreeOptima:
    """All luminance is 0.2 in the last frame, but 1 in column (-1, 1); voltages are 0, then 2."""
    optima = optima_of(NAMES, **TUNING)
    last = optima.artificial["stimulus"][0, -1]
    last[:] = 0.2
    last[int(LATTICE.index(-1, 1))] = 1.0
    return optima


def added(item: PageItem) -> Addition:
    table = Table("currents", ["from", "share"], [["<i>Mi1</i>", 0.5]])
    section = Section("Why", "because", [table], {"a plot": Figure(figsize=(1, 1))})
    return Addition({"check": 0.25 if item.cell_type == "T4c" else None}, [section])


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page with späces") / "page"
    write_page(known_optima(), folder, added)
    return folder


@pytest.fixture
def visit(chromium: Any, folder: Path) -> Iterator[Visit]:
    visit = Visit(chromium, folder)
    yield visit
    visit.leave()


def test_the_table_sorts_and_filters(visit: Visit) -> None:
    view = visit.view
    assert visit.names() == NAMES
    view.get_by_role("button", name="artificial").click()
    view.get_by_role("button", name="artificial").click()
    assert visit.names() == NAMES[::-1]
    assert view.locator("th[aria-sort=descending]").inner_text().startswith("artificial")
    # Where there is no direction, the row comes last in both orders.
    for _ in range(2):
        view.get_by_role("button", name="direction").click()
        assert visit.names()[-1] == "Mi1"
    view.get_by_role("button", name="cell type").click()
    assert visit.names() == [HOSTILE, "Mi1", "T4c"]
    view.locator("#name").fill("t4")
    assert visit.names() == ["T4c"] and view.locator("#count").inner_text() == "1 of 3"
    view.locator("#name").fill("")
    for select, option, names in (
        ("polarity", "OFF", [HOSTILE]),
        ("direction", "up", ["T4c"]),
        ("direction", "not selective", [HOSTILE, "Mi1"]),
    ):
        view.locator(f"#{select}").select_option(label=option)
        assert visit.names() == names
        view.locator(f"#{select}").select_option(label="any")


def test_the_numbers_are_those_of_the_results(visit: Visit) -> None:
    first = visit.view.locator("#rows tr").first.inner_text()
    for value in ("1.00", "0.980", "2.00", "90°", "0.73", "ON", "0.250"):
        assert value in first
    assert "tolerance missed" in visit.view.locator("#rows tr").nth(1).inner_text()


def test_pictures_play_under_the_pointer(visit: Visit) -> None:
    row = visit.view.locator("#rows tr").first
    canvas = row.locator("canvas").nth(2)
    picture = "#rows tr:first-child td:nth-of-type(3) canvas"
    visit.view.wait_for_function("document.querySelector('#rows tr').row.small")
    drawn = "c => c.toDataURL()"
    visit.view.wait_for_timeout(100)
    rest = canvas.evaluate(drawn)
    visit.view.wait_for_timeout(400)
    assert canvas.evaluate(drawn) == rest
    row.hover()
    visit.changes(picture, "toDataURL")
    visit.view.locator("#name").hover()
    assert canvas.evaluate(drawn) == rest


def test_a_cell_plays_steps_and_scrubs(visit: Visit) -> None:
    view = visit.view
    view.get_by_role("link", name="T4c", exact=True).click()
    time = view.locator("#time")
    view.wait_for_selector("#panels figure")
    visit.changes("#time", "value")
    view.keyboard.press("End")
    assert time.inner_text() == "0 ms" and view.locator("#play").inner_text() == "play"
    view.keyboard.press("ArrowLeft")
    view.keyboard.press("ArrowLeft")
    assert time.inner_text() == "\N{MINUS SIGN}20 ms"
    view.locator("#forth").click()
    assert time.inner_text() == "\N{MINUS SIGN}10 ms"
    view.keyboard.press("Home")
    assert time.inner_text() == "\N{MINUS SIGN}200 ms"
    view.locator("#stretch").select_option(label="all")
    view.locator("#scrub").fill("-240")
    assert time.inner_text() == "\N{MINUS SIGN}240 ms"
    trace = view.locator("canvas.trace").first
    box = trace.bounding_box()
    view.mouse.click(box["x"] + box["width"] - 11, box["y"] + 20)
    assert time.inner_text() == "0 ms"
    view.keyboard.press("+")
    assert view.locator("#speed").input_value() == "0.25"
    view.keyboard.press("Escape")
    view.wait_for_selector("#list", state="visible")


def test_hovering_and_clicking_a_column(visit: Visit) -> None:
    visit.open("T4c")
    canvas = visit.view.locator("canvas.stimulus").nth(2)
    values = visit.view.locator(".values").nth(2)
    assert "read out: luminance 0.20, voltage 2.00 a.u. (Δ\u00a02.00)" in values.inner_text()
    # Where column (-1, 1) stands: extent 2 is 8 by 5 sqrt(3) radii, and y grows upward.
    lattice = HexLattice(2)
    at = int(lattice.index(-1, 1))
    x, y = (float(axis[at]) for axis in lattice.picture_coordinates())
    box = canvas.bounding_box()
    size = min(box["width"] / 8.6, box["height"] / (5 * np.sqrt(3) + 0.6))
    place = box["width"] / 2 + size * x, box["height"] / 2 - size * y
    fraction = place[0] / box["width"], place[1] / box["height"]
    assert visit.pixel(canvas, *fraction) == [255] * 3
    assert visit.pixel(canvas, 0.5, 0.5) == [51] * 3
    canvas.hover(position={"x": place[0], "y": place[1]})
    assert values.inner_text().startswith(
        "column (\N{MINUS SIGN}1, 1): luminance 1.00, voltage 2.00"
    )
    trace = visit.view.locator("canvas.trace").nth(2)
    before = trace.evaluate("c => c.toDataURL()")
    visit.view.mouse.down()
    visit.view.mouse.up()
    assert trace.evaluate("c => c.toDataURL()") != before
    visit.view.mouse.down()
    visit.view.mouse.up()
    assert trace.evaluate("c => c.toDataURL()") == before
    # By keys, from the column read out.
    canvas.focus()
    visit.view.mouse.move(0, 0)
    visit.view.keyboard.press("ArrowUp")
    visit.view.keyboard.press("ArrowRight")
    assert values.inner_text().startswith("column (\N{MINUS SIGN}1, 1): luminance 1.00")
    assert visit.view.locator("#spoken").text_content().startswith("column (\N{MINUS SIGN}1, 1)")


def test_a_cell_has_its_neighbours_sections_and_alternative_texts(visit: Visit) -> None:
    visit.open("T4c")
    section = visit.view.locator("#sections section")
    for text in ("Why", "because", "currents", "<i>Mi1</i>", "0.500"):
        assert text in section.inner_text()
    assert section.locator("img").get_attribute("alt") == "a plot"
    assert section.locator("img").evaluate("image => image.naturalWidth") > 0
    for canvas in visit.view.locator("#item canvas").all():
        assert canvas.get_attribute("role") == "img" and canvas.get_attribute("aria-label")
    visit.view.keyboard.press("]")
    visit.view.wait_for_function("name => document.title.startsWith(name)", arg=HOSTILE)
    assert visit.view.locator("h2").inner_text() == HOSTILE
    visit.view.go_back()
    visit.view.wait_for_function("document.title.startsWith('T4c')")


def test_names_are_text_and_never_files(visit: Visit, folder: Path) -> None:
    assert visit.names()[1] == HOSTILE
    assert visit.view.locator("#rows b", has_text="&").count() == 0
    assert "<net>" in visit.view.locator("#facts").inner_text()
    names = {path.name for path in folder.parent.rglob("*") if path.is_file()}
    data = {f"{i:04d}{end}" for i in range(3) for end in (".js", "-small.js", "-0.png")}
    assert names == {
        "index.html",
        "drawing.js",
        "page.js",
        "page.css",
        "icon.svg",
        "index.js",
        *data,
    }


def test_rungs_below_grey_are_on_the_way_to_the_floor(chromium: Any, tmp_path: Path) -> None:
    write_page(ladder_of("Mi1", [-0.5, *[3.0] * 11]), tmp_path)
    visit = Visit(chromium, tmp_path)
    view, minus = visit.view, "\N{MINUS SIGN}"
    assert f"{minus}50 %" in view.locator("#rows td.pictured").first.inner_text()
    assert "with a minus to the floor" in view.locator("#foot").inner_text()
    # The table is wider than the window; what stands above it is not.
    edge = "element => element.getBoundingClientRect().right"
    assert view.locator("table").evaluate(edge) > 1300
    assert view.locator("caption").evaluate(edge) < 1300
    visit.open("Mi1")
    assert f"floor {minus}2.00" in view.locator("#tuning").inner_text()
    below, above = (view.locator("figcaption").nth(i).inner_text() for i in (0, 1))
    assert "50 % of the way from grey to the floor" in below and f"{minus}50 %" not in below
    assert "50 % of the way from grey to the ceiling" in above
    visit.leave()


def test_a_column_that_would_be_empty_is_left_out(chromium: Any, tmp_path: Path) -> None:
    """Ceilings have no agreement, as most of their pixels do not matter to the cell."""
    ceilings = StimulusGenerator(two_networks(extent=3), "T4c", t_stim=0.1).result()
    for kind, shown in (("range", 0), ("artificial", 1)):
        write_page(dataclasses.replace(ceilings, kind=kind), tmp_path / kind)
        visit = Visit(chromium, tmp_path / kind)
        assert visit.view.get_by_role("columnheader", name="agreement").count() == shown
        visit.leave()


def test_it_fits_a_phone_in_dark_and_light(chromium: Any, folder: Path) -> None:
    visit = Visit(chromium, folder, width=390, policy=True)
    wide = "document.documentElement.scrollWidth"
    assert visit.view.evaluate(wide) <= 390
    ground = "getComputedStyle(document.body).backgroundColor"
    light = visit.view.evaluate(ground)
    visit.view.locator("#theme").click()
    assert visit.view.evaluate(ground) != light
    visit.view.emulate_media(color_scheme="dark")
    visit.view.locator("#theme").click()
    assert visit.view.evaluate(ground) == light
    visit.open("T4c")
    assert visit.view.evaluate(wide) <= 390
    visit.leave()


def test_a_link_to_a_cell_opens_it_and_only_it(chromium: Any, folder: Path) -> None:
    visit = Visit(chromium, folder, hash="#0002", policy=True)
    visit.view.wait_for_selector("#panels figure")
    assert visit.view.locator("h2").inner_text() == "Mi1"
    loaded = {Path(url).name for url in visit.requests}
    assert "0002.js" in loaded and not {"0000.js", "0001.js"} & loaded
    visit.leave()
