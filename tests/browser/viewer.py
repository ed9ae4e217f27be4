"""The house's own pages in a real browser: sign-in, list, viewer. What the screen shows is compared with a reference pixel by
pixel; a console error, a failed request or a foreign host fails the test. Arguments: base address, token, authority's
certificate, fixtures' folder, folder for pictures."""

import re
from pathlib import Path

import numpy as np
import pydicom
from house import Eyes, Vault, arguments, chromium, expect, keep, page_of, same, seen, series_of, sign_in, values, windowed

given = arguments("base", "token", "ca", "fixtures", "shots")
base, fixtures = given["base"], Path(given["fixtures"])
eyes = Eyes(base)
SLICES = 40


def label(page):
    return page.locator(".pane.active canvas")


def at(page, number, of):
    expect(label(page)).to_have_attribute("aria-label", re.compile(rf"^Image {number} of {of}\."))


def window_now(page):
    found = re.search(r"C (-?[\d.]+)  W ([\d.]+)", label(page).get_attribute("aria-label"))
    return float(found[1]), float(found[2])


def signing_in(page):
    eyes.forgiven = ("status of 401",)
    page.goto(base + "/studies")
    page.wait_for_url(re.compile("#next="))
    page.click("#by-token summary")
    page.fill("#token", "lg_nonsense")
    page.click("#send")
    expect(page.locator("#message")).to_contain_text("not valid")
    page.fill("#token", given["token"])
    page.click("#send")
    page.wait_for_url(base + "/studies")
    eyes.forgiven = ()
    assert page.evaluate("document.cookie") == "", "a script sees the session"
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0, "something is kept in the browser"


def finding(page, slices):
    page.fill("#name", "browser slices")
    expect(page.locator("#count")).to_have_text("1 study")
    expect(page.locator("#list a .who")).to_have_text("Browser, Slices")
    assert "rowser" not in page.url, "the address names the patient"
    page.fill("#name", "nobody of that name")
    expect(page.locator("#list a")).to_have_count(0)
    page.fill("#name", "")
    page.fill("#id", "BROWSER")
    page.select_option("#modality", "CT")
    expect(page.locator("#count")).to_have_text("1 study")
    page.reload()
    expect(page.locator("#id")).to_have_value("BROWSER")
    expect(page.locator("#list a")).to_have_count(1)
    # Without a mouse from here on.
    page.focus("#id")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{base}/view/{slices[0].StudyInstanceUID}")


def looking(page, slices):
    # Who sent it stands at each series, and what vouches for that.
    expect(page.locator(".thumb .origin")).to_have_count(page.locator(".thumb").count())
    expect(page.locator(".thumb .origin").first).to_have_text(re.compile(r"known by|proved its key|behind a relay|sent by|brought in by"))
    at(page, 1, SLICES)
    expect(page.locator("#who")).to_have_text("Browser, Slices")
    keep(page, given["shots"], "ct-fit")
    page.keyboard.press("a")
    size = (slices[0].Rows, slices[0].Columns)
    ct = lambda number, center, width, inverse=False: windowed(values(slices[number - 1]), center, width, inverse)
    same(seen(page, size), ct(1, 40, 400), "the first slice as it was sent")
    page.mouse.move(600, 450)
    for _ in range(10):
        page.mouse.wheel(0, 100)
    at(page, 11, SLICES)
    same(seen(page, size), ct(11, 40, 400), "ten slices further by the wheel")
    page.keyboard.press("End")
    at(page, SLICES, SLICES)
    same(seen(page, size), ct(SLICES, 40, 400), "the last slice by a key")
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowUp")
    at(page, SLICES - 11, SLICES)
    page.keyboard.press("3")
    expect(label(page)).to_have_attribute("aria-label", re.compile("C -600  W 1500"))
    same(seen(page, size), ct(SLICES - 11, -600, 1500), "lung window by a key")
    page.keyboard.press("i")
    expect(page.locator("[data-do=invert]")).to_have_attribute("aria-pressed", "true")
    same(seen(page, size), ct(SLICES - 11, -600, 1500, True), "inverted")
    page.keyboard.press("i")
    page.mouse.down()
    page.mouse.move(680, 420, steps=4)
    page.mouse.up()
    center, width = window_now(page)
    assert width > 1500 and center < -600, f"a drag made it {center} {width}"
    same(seen(page, size), ct(SLICES - 11, center, width), "the window after a drag", tolerance=2.01)
    page.keyboard.press("r")
    page.keyboard.press("a")
    expect(label(page)).to_have_attribute("aria-label", re.compile("C 40  W 400"))
    same(seen(page, size), ct(SLICES - 11, 40, 400), "reset")
    page.keyboard.press("+")
    page.keyboard.press("f")
    page.keyboard.press("Home")
    at(page, 1, SLICES)
    page.keyboard.press("c")
    expect(page.locator(".pane canvas")).to_have_count(2)
    at(page, 1, SLICES)
    page.keyboard.press("End")
    at(page, SLICES, SLICES)
    keep(page, given["shots"], "ct-two-up")
    # Tab goes to the other one, and what is pressed there is meant for it.
    page.keyboard.press("Tab")
    at(page, 1, SLICES)
    page.keyboard.press("i")
    panes = [page.locator(".pane").nth(n).locator("canvas") for n in (0, 1)]
    page.keyboard.press("PageDown")
    expect(panes[0]).to_have_attribute("aria-label", re.compile("^Image 11 of"))
    expect(panes[1]).to_have_attribute("aria-label", re.compile(f"^Image {SLICES} of"))
    # From the other's slider too.
    page.locator(".pane").nth(1).locator("input[type=range]").focus()
    page.keyboard.press("i")
    expect(page.locator(".pane").nth(1)).to_have_class(re.compile("active"))
    page.keyboard.press("c")
    expect(page.locator(".pane canvas")).to_have_count(1)
    fetched = [url for url in eyes.asked if "/frames/" in url]
    assert len(fetched) == len(set(fetched)), "an image was fetched twice"


def playing(page):
    us = pydicom.dcmread(fixtures / "us-bot.dcm")
    page.goto(f"{base}/view/{us.StudyInstanceUID}")
    at(page, 1, us.NumberOfFrames)
    page.fill("#speed", "60")
    page.locator(".pane canvas").focus()
    page.keyboard.press(" ")
    at(page, 3, us.NumberOfFrames)
    # Over the end and on.
    at(page, 2, us.NumberOfFrames)
    page.keyboard.press(" ")
    expect(page.locator("[data-do=cine]")).to_have_text("Play")


def every_kind(page):
    """What each fixture looks like at first sight, against numpy and pydicom's decoders."""
    for name in ("dx.dcm", "io.dcm", "cr-implicit.dcm", "mr-bigendian.dcm", "enhanced-ct.dcm", "sc-deflated.dcm", "canary.dcm"):
        data = pydicom.dcmread(fixtures / name)
        x = values(data)
        if "WindowCenter" in data:
            center, width = float(data.WindowCenter), float(data.WindowWidth)
        else:
            center, width = (x.min() + x.max()) / 2 + 0.5, x.max() - x.min() + 1
        page.goto(f"{base}/view/{data.StudyInstanceUID}")
        at(page, 1, int(data.get("NumberOfFrames", 1)))
        page.keyboard.press("a")
        keep(page, given["shots"], name.removesuffix(".dcm"))
        inverse = data.PhotometricInterpretation == "MONOCHROME1"
        same(seen(page, x.shape), windowed(x, center, width, inverse), name)
    photo = pydicom.dcmread(fixtures / "photo.dcm")
    page.goto(f"{base}/view/{photo.StudyInstanceUID}")
    at(page, 1, 1)
    page.keyboard.press("a")
    # Two decoders of baseline JPEG round colours differently.
    same(seen(page, (photo.Rows, photo.Columns)), pydicom.pixels.pixel_array(photo, raw=False).astype(float), "photo", tolerance=12)
    keep(page, given["shots"], "photo")


def decoded_by_the_vault(page):
    """What browsers do not decode: the vault makes native pixels of it, or a picture under the window that is asked for."""
    # Which of the two, the page learns from the first answer.
    eyes.forgiven = ("status of 406",)
    for name in ("ct-j2k.dcm", "ct-jpegls.dcm", "sc-rle.dcm", "dx-jpegll.dcm"):
        data = pydicom.dcmread(fixtures / name)
        x = values(data)
        center, width = (x.min() + x.max()) / 2 + 0.5, x.max() - x.min() + 1
        if "WindowCenter" in data:
            center, width = float(data.WindowCenter), float(data.WindowWidth)
        page.goto(f"{base}/view/{data.StudyInstanceUID}")
        at(page, 1, int(data.get("NumberOfFrames", 1)))
        page.keyboard.press("a")
        keep(page, given["shots"], name.removesuffix(".dcm"))
        same(seen(page, x.shape), windowed(x, center, width), name, tolerance=2.01)
    eyes.forgiven = ()


def with_long_table(of, curve):
    """An X-ray whose table (PS3.3 C.11.1, C.11.2) is too long to stand in the metadata."""
    data = pydicom.dcmread(fixtures / "dx.dcm")
    data.StudyInstanceUID, data.SeriesInstanceUID = pydicom.uid.generate_uid(prefix="2.25."), pydicom.uid.generate_uid(prefix="2.25.")
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(prefix="2.25.")
    entries = np.round(65535 * curve(np.arange(16384) / 16383)).astype("<u2")
    item = pydicom.Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [16384, 0, 16], "US"
    item.add_new(0x00283006, "OW", entries.tobytes())
    if of == "VOILUTSequence":
        del item.ModalityLUTType
    setattr(data, of, pydicom.Sequence([item]))
    for absent in ("RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth"):
        delattr(data, absent)
    return data, entries[data.pixel_array].astype(np.float64)


def long_tables(page, vault):
    """Once these were shown as if there were no table: an X-ray looked right and had other greys."""
    for of, curve in (("VOILUTSequence", lambda x: x**3), ("ModalityLUTSequence", lambda x: 1 - x**3)):
        data, shades = with_long_table(of, curve)
        if of == "ModalityLUTSequence":
            data.WindowCenter, data.WindowWidth = 60000, 8000
            wanted = windowed(shades, 60000, 8000)
        else:
            wanted = np.round(shades / 65535 * 255)
        vault.store([data])
        page.goto(f"{base}/view/{data.StudyInstanceUID}")
        at(page, 1, 1)
        page.keyboard.press("a")
        keep(page, given["shots"], of)
        same(seen(page, shades.shape), wanted, of, tolerance=2.01)


def papers(page):
    report = pydicom.dcmread(fixtures / "sr.dcm")
    page.goto(f"{base}/view/{report.StudyInstanceUID}")
    expect(page.locator(".paper")).to_contain_text("No finding: the lungs are ellipses.")
    keep(page, given["shots"], "sr")
    document = pydicom.dcmread(fixtures / "pdf.dcm")
    page.goto(f"{base}/view/{document.StudyInstanceUID}")
    with page.context.expect_page() as opened:
        page.click("text=Open the document")
    opened.value.close()
    with page.expect_download() as saved:
        page.click("text=Save")
    held = Path(saved.value.path()).read_bytes()
    assert held == bytes(document.EncapsulatedDocument)[: len(held)] and held.startswith(b"%PDF"), "the document is another one"
    for name in ("ecg.dcm", "rtstruct.dcm"):
        data = pydicom.dcmread(fixtures / name)
        page.goto(f"{base}/view/{data.StudyInstanceUID}")
        expect(page.locator(".paper")).to_contain_text("has no picture")


def phone(browser, slices):
    page = page_of(browser, eyes, viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True, device_scale_factor=2)
    sign_in(page, base, given["token"])
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), "the list is wider than the phone"
    keep(page, given["shots"], "phone-list")
    page.goto(f"{base}/view/{slices[0].StudyInstanceUID}")
    at(page, 1, SLICES)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), "the viewer is wider than the phone"
    touch = page.context.new_cdp_session(page)
    finger = lambda kind, *points: touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})
    finger("touchStart", (200, 300))
    for y in range(310, 420, 10):
        finger("touchMove", (200, y))
    finger("touchEnd")
    moved = re.compile(r"^Image ([5-9]|1\d) of")
    expect(label(page)).to_have_attribute("aria-label", moved)
    scale = lambda: int(re.search(r"(\d+) %", page.locator(".pane .bottom.right").inner_text())[1])
    before = scale()
    finger("touchStart", (180, 300), (220, 300))
    for spread in range(10, 100, 10):
        finger("touchMove", (180 - spread, 300), (220 + spread, 300))
    finger("touchEnd")
    assert scale() > before * 2, f"two fingers zoomed from {before} % to {scale()} %"
    keep(page, given["shots"], "phone-viewer")
    page.context.close()


def leaving(page):
    page.goto(base + "/studies")
    expect(page.locator("#list a").first).to_be_visible()
    page.click("#out")
    page.wait_for_url(base + "/")
    expect(page.locator("#passkey")).to_be_visible()
    page.go_back()
    page.wait_for_url(re.compile("#next="))
    expect(page.locator("#passkey")).to_be_visible()


with chromium() as browser:
    vault = Vault(base, given["token"], given["ca"])
    slices = series_of(fixtures / "ct-1.dcm", SLICES, "Browser^Slices")
    vault.store(slices)
    page = page_of(browser, eyes)
    for step in (lambda: signing_in(page), lambda: finding(page, slices), lambda: looking(page, slices), lambda: playing(page),
                 lambda: every_kind(page), lambda: decoded_by_the_vault(page), lambda: long_tables(page, vault),
                 lambda: papers(page), lambda: phone(browser, slices)):
        step()
        eyes.check("so far")
    eyes.forgiven = ("status of 401",)
    leaving(page)
    eyes.check("at the end")
print("all is well")
