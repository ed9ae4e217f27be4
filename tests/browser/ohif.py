"""OHIF, installed beside the vault, on its own origin: opens what the house keeps, with the session of the page it was opened
from, under the house's rules for code. Arguments as viewer.py, and OHIF's address."""

import itertools
import re
from pathlib import Path

import numpy as np
import pydicom
from house import Eyes, Vault, arguments, chromium, expect, keep, page_of, series_of, sign_in, values, windowed

given = arguments("base", "token", "ca", "fixtures", "shots", "ohif")
base, ohif, fixtures = given["base"], given["ohif"], Path(given["fixtures"])
eyes = Eyes(base, ohif)
SLICES = 260
IMAGE = 250
HALVES = (0, -0.5, 0.5)
# OHIF tells the number of an image before it paints it; two turns of the screen later it is there.
CHANGED = "() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve(true))))"


def opened(page, data):
    """Opens a study and waits until its picture is there."""
    page.goto(f"{ohif}/viewer?StudyInstanceUIDs={data.StudyInstanceUID}")
    expect(page.locator(".cornerstone-canvas").first).to_be_visible()


def painted(page):
    """The canvas holds a picture once it is no longer of one colour. OHIF paints when it is ready and says so to nobody."""
    page.wait_for_function("""() => {
        const canvas = document.querySelector(".cornerstone-canvas");
        if (!canvas?.width) return false;
        const copy = new OffscreenCanvas(64, 64);
        const context = copy.getContext("2d");
        context.drawImage(canvas, 0, 0, 64, 64);
        const { data } = context.getImageData(0, 0, 64, 64);
        let [low, high] = [255, 0];
        for (let at = 0; at < data.length; at += 4) { low = Math.min(low, data[at]); high = Math.max(high, data[at]); }
        return high - low > 40;
    }""")


def region(page, rows, columns, right, down, wider, colour=0):
    """One colour of the picture in the viewport, brought to its own size; OHIF fits to the viewport either whole pixels or their centres, so it
    may be off by half a pixel of its own and larger by one."""
    pixels = page.evaluate("""([rows, columns, right, down, wider, colour]) => {
        const canvas = document.querySelector(".cornerstone-canvas");
        const scale = Math.min(canvas.width / (columns - wider), canvas.height / (rows - wider));
        const [width, height] = [columns * scale, rows * scale];
        const [left, top] = [(canvas.width - width) / 2 + right * scale, (canvas.height - height) / 2 + down * scale];
        const copy = new OffscreenCanvas(columns, rows);
        const context = copy.getContext("2d");
        context.imageSmoothingEnabled = false;
        context.drawImage(canvas, left, top, width, height, 0, 0, columns, rows);
        return [...context.getImageData(0, 0, columns, rows).data].filter((_, at) => at % 4 === colour);
    }""", [rows, columns, right, down, wider, colour])
    return np.array(pixels, dtype=np.float64).reshape(rows, columns)


def alike(page, wanted, what, step=6):
    """The same picture: what is drawn larger is smoothed at its edges, so nearly all pixels must agree, not all."""
    colours = np.atleast_3d(wanted)
    differ = lambda way, colour: np.mean(np.abs(region(page, *wanted.shape[:2], *way, colour) - colours[:, :, colour]) > step)
    off = {way: differ(way, 0) for way in itertools.product(HALVES, HALVES, (0, 1))}
    best = min(off, key=off.get)
    worst = max(off[best], *(differ(best, colour) for colour in range(1, colours.shape[2])), 0)
    assert worst < 0.05, f"{what}: {worst:.1%} of the pixels differ"
    assert wanted.max() - wanted.min() > 40, f"{what}: a picture of one grey proves nothing"


def place(page, number):
    """Waits for the number-th image and gives the instance's own number: OHIF begins at the head."""
    told = re.compile(rf"I:\s*(\d+)\s*\(\s*{number}/{SLICES}\s*\)")
    expect(page.locator("body")).to_contain_text(told)
    return int(told.search(page.locator("body").inner_text())[1])


def ct(page, slices):
    opened(page, slices[0])
    painted(page)
    look = lambda number: alike(page, windowed(values(slices[place(page, number) - 1]), 40, 400), f"image {number}")
    look(1)
    keep(page, given["shots"], "ct-first")
    page.locator(".cornerstone-canvas").first.hover()
    for number in range(2, IMAGE + 1):
        page.mouse.wheel(0, 100)
        place(page, number)
    look(IMAGE)
    keep(page, given["shots"], f"ct-{IMAGE}")


def frames(page, name):
    """Many frames, or a syntax that the browser's decoders have to open."""
    data = pydicom.dcmread(fixtures / name)
    opened(page, data)
    painted(page)
    keep(page, given["shots"], name.removesuffix(".dcm"))
    if data.PhotometricInterpretation != "MONOCHROME2":
        # Two decoders of baseline JPEG round colours differently, and bring them to full width in their own ways.
        seen = np.asarray(pydicom.pixels.pixel_array(data, raw=False)).astype(float)
        film = seen if int(data.get("NumberOfFrames", 1)) > 1 else seen[None]
        alike(page, film[0], name, step=24)
        if len(film) > 2:
            page.locator(".cornerstone-canvas").first.hover()
            for number in (2, 3):
                page.mouse.wheel(0, 100)
                expect(page.locator("body")).to_contain_text(re.compile(rf"\(\s*{number}/{len(film)}\s*\)"))
            page.wait_for_function(CHANGED)
            alike(page, film[2], f"{name}, frame 3", step=24)
            keep(page, given["shots"], name.removesuffix(".dcm") + "-3")
        return
    x = values(data)
    center, width = (x.min() + x.max()) / 2 + 0.5, x.max() - x.min() + 1
    if "WindowCenter" in data:
        center, width = float(data.WindowCenter), float(data.WindowWidth)
    alike(page, windowed(x, center, width), name)


def document(page):
    """A document is fetched as the one who is signed in and handed to the browser. Headless, Chromium has nothing to show it with, so
    what is looked at is what OHIF hands over."""
    data = pydicom.dcmread(fixtures / "pdf.dcm")
    page.goto(f"{ohif}/viewer?StudyInstanceUIDs={data.StudyInstanceUID}")
    shown = page.locator("object[type='application/pdf']")
    expect(shown).to_have_count(1)
    keep(page, given["shots"], "pdf")
    address = shown.get_attribute("data")
    held = page.evaluate("""async (address) => {
        const answer = await fetch(address);
        return { status: answer.status, type: answer.headers.get("content-type"), bytes: [...new Uint8Array(await answer.arrayBuffer())] };
    }""", address)
    whole = bytes(data.EncapsulatedDocument)
    assert held["status"] == 200 and bytes(held["bytes"]) == whole[: len(held["bytes"])], (address, held["status"], held["type"])
    assert held["type"] == "application/pdf" and len(held["bytes"]) >= len(whole) - 1, (address, held["type"], len(held["bytes"]))


with chromium("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist") as browser:
    vault = Vault(base, given["token"], given["ca"])
    slices = series_of(fixtures / "ct-1.dcm", SLICES, "Browser^Slices")
    for at in range(0, SLICES, 65):
        vault.store(slices[at : at + 65])
    page = page_of(browser, eyes, viewport={"width": 1400, "height": 850})
    # Nobody is signed in yet: OHIF leads to the console.
    page.goto(ohif + "/")
    page.wait_for_url(base + "/")
    eyes.forgiven = ("status of 401",)
    sign_in(page, base, given["token"])
    eyes.forgiven = ()
    page.goto(f"{base}/view/{slices[0].StudyInstanceUID}")
    expect(page.locator("#elsewhere")).to_have_attribute("href", f"{ohif}/viewer?StudyInstanceUIDs={slices[0].StudyInstanceUID}")
    page.goto(ohif + "/")
    expect(page.locator("body")).to_contain_text("FIXTURE, ")
    keep(page, given["shots"], "list")
    ct(page, slices)
    eyes.check("CT")
    for name in ("us-bot.dcm", "sc-rle.dcm", "ct-jpegls.dcm", "ct-j2k.dcm", "dx.dcm", "photo.dcm"):
        frames(page, name)
        eyes.check(name)
    report = pydicom.dcmread(fixtures / "sr.dcm")
    page.goto(f"{ohif}/viewer?StudyInstanceUIDs={report.StudyInstanceUID}")
    expect(page.locator("body")).to_contain_text("No finding: the lungs are ellipses.")
    eyes.check("SR")
    # Before it has the document's address, OHIF's frame for it has none, and Chromium asks the rules whether "nothing" may be loaded.
    eyes.forgiven = ("Loading plugin data from ''",)
    document(page)
    eyes.check("PDF")
print("all is well")
