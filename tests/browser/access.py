"""The house's pages for everybody: by keyboard alone, by ear, by finger on a phone, light and dark; what is fetched ahead; a photo
sent by who is signed in. Arguments as viewer.py."""

import re
import time
from pathlib import Path

from house import Eyes, Vault, arguments, chromium, expect, keep, page_of, series_of, sign_in
from PIL import Image

given = arguments("base", "token", "ca", "fixtures", "shots")
base, fixtures = given["base"], Path(given["fixtures"])
eyes = Eyes(base)
SLICES = 90

# Everything that can be used: what it is called, and how large it is.
USABLE = """() => [...document.querySelectorAll("a[href], button, input, select, canvas[tabindex], [tabindex='0']")]
    .filter((each) => each.checkVisibility({ visibilityProperty: true }))
    .map((each) => {
        const labels = [...(each.labels ?? [])].map((label) => label.textContent.trim());
        const name = each.getAttribute("aria-label") || labels.join(" ") || each.textContent.trim() || each.title || "";
        const { width, height } = each.getBoundingClientRect();
        return { what: each.outerHTML.slice(0, 80), name, width, height };
    })"""

# How the focused element shows that it is.
FOCUSED = """() => {
    const each = document.activeElement;
    if (each === document.body) return null;
    const style = getComputedStyle(each);
    const around = each.parentElement ? getComputedStyle(each.parentElement, "::after") : null;
    const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const framed = each.matches("canvas") && around.content !== "none" && parseFloat(around.borderTopWidth) >= 2;
    return { what: each.id || each.dataset.do || each.dataset.tool || each.className || each.tagName, seen: outlined || framed };
}"""

# The least contrast of text on its ground (WCAG 2.2, 1.4.3), over everything that holds text itself.
CONTRAST = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
    const ground = (each) => {
        for (let at = each; at; at = at.parentElement) {
            const found = parts(getComputedStyle(at).backgroundColor);
            if (found.length === 3 || found[3] > 0) return found;
        }
        return [255, 255, 255];
    };
    let worst = { ratio: 99 };
    for (const each of document.querySelectorAll("body *")) {
        const text = [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
        if (!text || !each.checkVisibility() || each.matches(":disabled, noscript, option, .corner")) continue;
        const [a, b] = [light(parts(getComputedStyle(each).color)), light(ground(each))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < worst.ratio) worst = { ratio, what: each.outerHTML.slice(0, 100) };
    }
    return worst;
}"""


def canvas(page):
    return page.locator(".pane.active canvas")


def at(page, number, of=SLICES):
    expect(canvas(page)).to_have_attribute("aria-label", re.compile(rf"^Image {number} of {of}\."))


def named(page, where, least):
    for thing in page.evaluate(USABLE):
        assert thing["name"], f"{where}: this has no name: {thing['what']}"
        assert min(thing["width"], thing["height"]) >= least, f"{where}: too small for a finger: {thing}"
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.title().endswith("Leadglass") and page.locator("h1").count() == 1, f"{where}: {page.title()}"


def walk(page, where):
    """Once around by Tab: the order of the page, and the focus is seen everywhere."""
    page.evaluate("document.activeElement.blur()")
    page.evaluate("document.body.setAttribute('tabindex', '-1'); document.body.focus(); document.body.removeAttribute('tabindex')")
    passed = []
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:
            break
        assert focused["seen"], f"{where}: nobody sees that {focused['what']} has the focus"
        passed.append(focused["what"])
    return passed


def in_order(passed, wanted, where):
    places = [passed.index(name) for name in wanted]
    assert places == sorted(places), f"{where}: {passed}"


def by_keyboard_and_ear(page, study):
    named(page, "list", 24)
    in_order(walk(page, "list"), ["name", "id", "from", "to", "modality"], "list")
    page.goto(f"{base}/view/{study}")
    at(page, 1)
    named(page, "viewer", 24)
    tools = ["back", "help", "window", "scroll", "zoom", "pan", "preset", "invert", "fit", "actual", "reset", "cine", "speed", "compare", "thumb", "CANVAS"]
    in_order(walk(page, "viewer"), tools, "viewer")
    live = page.evaluate("""() => [...document.querySelectorAll("[role=status], [aria-live]")].map((each) => each.id || each.className)""")
    assert {"status", "word"} <= set(live), live
    canvas(page).focus()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    assert page.evaluate("document.activeElement.matches('canvas')"), "after the help the keys go on with the image"
    # All states of what is pressed are told to who does not see them.
    for name, key in (("window", "w"), ("scroll", "s"), ("zoom", "z"), ("pan", "p")):
        page.keyboard.press(key)
        pressed = page.locator("[data-tool][aria-pressed=true]")
        expect(pressed).to_have_count(1)
        expect(pressed).to_have_attribute("data-tool", name)


def ahead(page, study):
    """Neighbours come before they are asked for, and nearest first; who jumps away does not wait for them."""
    eyes.asked.clear()
    page.goto(f"{base}/view/{study}")
    at(page, 1)
    numbers = lambda: [url for url in eyes.asked if "/frames/" in url]
    page.wait_for_function("() => performance.getEntriesByType('resource').filter(({ name }) => name.includes('/frames/')).length >= 25")
    assert len(numbers()) == 25, f"{len(numbers())} frames for the first image: its neighbours and no more"
    page.keyboard.press("End")
    at(page, SLICES)
    page.wait_for_function("() => performance.getEntriesByType('resource').filter(({ name }) => name.includes('/frames/')).length >= 33")
    assert len(numbers()) < SLICES, "jumping from one end to the other fetches what is between"
    # What lies around is there without another question.
    asked = len(numbers())
    for _ in range(5):
        page.keyboard.press("ArrowUp")
    at(page, SLICES - 5)
    assert len(numbers()) - asked <= 24, "steps among neighbours fetch the next ones only"


def light_and_dark(browser, study):
    grounds = set()
    for scheme in ("light", "dark"):
        page = page_of(browser, eyes, color_scheme=scheme)
        for path in ("/", "/photo"):
            page.goto(base + path)
            expect(page.locator("h1")).to_be_visible()
            worst = page.evaluate(CONTRAST)
            assert worst["ratio"] >= 4.5, f"{scheme} {path}: {worst}"
        sign_in(page, base, given["token"])
        expect(page.locator("#list a").first).to_be_visible()
        worst = page.evaluate(CONTRAST)
        assert worst["ratio"] >= 4.5, f"{scheme} list: {worst}"
        keep(page, given["shots"], f"list-{scheme}")
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.goto(f"{base}/view/{study}")
        at(page, 1)
        worst = page.evaluate(CONTRAST)
        assert worst["ratio"] >= 4.5, f"{scheme} viewer: {worst}"
        page.context.close()
    assert len(grounds) == 2, "light and dark look the same"


def phone(browser, study):
    page = page_of(browser, eyes, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=3)
    sign_in(page, base, given["token"])
    named(page, "list on a phone", 24)
    page.locator("#list a", has_text="Everybody").first.tap()
    at(page, 1)
    fits = lambda where: page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth && document.documentElement.scrollHeight <= document.documentElement.clientHeight") or \
        (_ for _ in ()).throw(AssertionError(f"{where} is larger than the phone"))
    fits("the viewer")
    named(page, "viewer on a phone", 24)
    touch = page.context.new_cdp_session(page)
    finger = lambda kind, when, *points: touch.send("Input.dispatchTouchEvent", {
        "type": kind, "timestamp": when, "touchPoints": [{"x": x, "y": y} for x, y in points]})
    box = canvas(page).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def swipe(length):
        """A second long, and at rest when the finger is lifted: after a flick the browser takes the next tap for a stop."""
        began = time.time() - 1.2
        finger("touchStart", began, (x, y))
        for step in range(1, 11):
            finger("touchMove", began + step / 20, (x, y + length * step / 10))
        finger("touchMove", began + 1, (x, y + length))
        finger("touchEnd", began + 1.1)

    now = lambda: int(re.match(r"Image (\d+)", canvas(page).get_attribute("aria-label"))[1])
    swipe(120)
    expect(canvas(page)).to_have_attribute("aria-label", re.compile(r"^Image ([5-9]|1\d) of"))
    far = now()
    swipe(-120)
    expect(canvas(page)).not_to_have_attribute("aria-label", re.compile(rf"^Image {far} of"))
    # The other tools by a tap, then by the same finger.
    page.locator("[data-tool=window]").tap()
    expect(page.locator("[data-tool=window]")).to_have_attribute("aria-pressed", "true")
    before = canvas(page).get_attribute("aria-label").split(". ")[1]
    swipe(60)
    expect(canvas(page)).not_to_have_attribute("aria-label", re.compile(re.escape(before)))
    page.locator("[data-do=invert]").tap()
    expect(page.locator("[data-do=invert]")).to_have_attribute("aria-pressed", "true")
    page.locator("[data-do=reset]").tap()
    page.locator("[data-do=cine]").tap()
    expect(page.locator("[data-do=cine]")).to_have_text("Stop")
    started = now()
    expect(canvas(page)).not_to_have_attribute("aria-label", re.compile(rf"^Image {started} of"))
    page.locator("[data-do=cine]").tap()
    # Two series, one above the other; a touch says which one is meant.
    page.locator("[data-do=compare]").tap()
    panes = page.locator(".pane canvas")
    expect(panes).to_have_count(2)
    above, below = panes.nth(0).bounding_box(), panes.nth(1).bounding_box()
    assert below["y"] >= above["y"] + above["height"] - 1 and min(above["height"], below["height"]) > 150, (above, below)
    fits("two-up")
    expect(page.locator(".pane.active .top.left")).to_contain_text("Others")
    panes.nth(0).tap()
    expect(page.locator(".pane.active .top.left")).to_contain_text("Slices")
    keep(page, given["shots"], "phone-two-up")
    # A series from the list goes into the pane that is in use.
    page.locator(".thumb", has_text="Others").tap()
    expect(page.locator(".pane.active .top.left")).to_contain_text("Others")
    expect(page.locator(".thumb[aria-current=true]")).to_contain_text("Others")
    page.context.close()


def photo(page, shots):
    """Who is signed in sends a photo without typing a token; who is signed out on the way is told so."""
    picture = Path(shots) / "sent.jpg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.radial_gradient("L").convert("RGB").save(picture, quality=90)
    page.goto(base + "/photo")
    expect(page.locator("#signed")).to_contain_text("Signed in:")
    expect(page.locator("#token")).to_be_hidden()
    named(page, "photo", 1)
    page.fill("#patient-id", "BROWSER-9")
    page.locator("#patient-id").blur()
    expect(page.locator("#known")).to_contain_text("Not known yet")
    page.fill("#family", "Browser")
    page.fill("#born", "1980-02-03")
    page.set_input_files("#gallery", picture)
    page.click("#send")
    expect(page.locator("#message")).to_have_text("The file is stored.")
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0, "something is kept in the browser"
    keep(page, shots, "photo-sent")
    eyes.forgiven = ("status of 401",)
    page.evaluate("fetch('/api/v1/session', { method: 'DELETE' })")
    page.set_input_files("#gallery", picture)
    page.click("#send")
    expect(page.locator("#message")).to_contain_text("signed out")
    expect(page.locator("#token")).to_be_focused()
    page.fill("#token", given["token"])
    page.click("#send")
    expect(page.locator("#message")).to_have_text("The file is stored.")
    eyes.forgiven = ()


with chromium() as browser:
    vault = Vault(base, given["token"], given["ca"])
    slices = series_of(fixtures / "ct-1.dcm", SLICES, "Browser^Everybody")
    others = series_of(fixtures / "ct-1.dcm", 12, "Browser^Everybody")
    for data in others:
        data.StudyInstanceUID, data.SeriesDescription, data.SeriesNumber = slices[0].StudyInstanceUID, "Others", 9
    for data in slices:
        data.SeriesNumber = 1
    vault.store(slices)
    vault.store(others)
    study = slices[0].StudyInstanceUID
    page = page_of(browser, eyes)
    sign_in(page, base, given["token"])
    expect(page.locator("#list a").first).to_be_visible()
    for step in (lambda: by_keyboard_and_ear(page, study), lambda: ahead(page, study), lambda: light_and_dark(browser, study),
                 lambda: phone(browser, study), lambda: photo(page, given["shots"])):
        step()
        eyes.check("so far")
print("all is well")
