"""A browser for the tests: Debian's Chromium, headless, driven by Playwright; eyes on its console and its network; and a
reference renderer of a few lines of numpy, which shares nothing with the product."""

import contextlib
import io
import json
import os
import re
import ssl
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from playwright.sync_api import expect, sync_playwright

# Nothing is waited for longer; a condition ends every wait.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


class Eyes:
    """What a page said and asked for that it should not have."""

    def __init__(self, *origins):
        self.origins = origins
        self.bad = []
        self.asked = []
        self.forgiven = ()

    def watch(self, page):
        page.on("console", lambda m: self.note(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda e: self.note(f"page error: {e}"))
        page.on("request", lambda r: self.look(r.url))
        page.on("requestfailed", lambda r: self.note(f"failed: {r.url} {r.failure}") if "ABORTED" not in str(r.failure) else None)

    def look(self, url):
        self.asked.append(url)
        if not url.startswith(tuple(o + "/" for o in self.origins)) and not url.startswith(("blob:", "data:")):
            self.note(f"a foreign host is asked: {url}")

    def note(self, word):
        if not any(fine in word for fine in self.forgiven):
            self.bad.append(word)

    def check(self, when):
        assert not self.bad, f"{when}: {self.bad}"


@contextlib.contextmanager
def chromium(*more):
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--force-color-profile=srgb", "--disable-background-networking", "--disable-component-update",
                     "--disable-sync", "--no-first-run", *more]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def work_on(context, folder):
    """Takes the pages from their folder instead of from the program that was built, for who works on them."""
    built_in = {"/": "signin.html", "/studies": "studies.html", "/photo": "photo.html", "/invitation": "invitation.html", "/account": "account.html"}

    def serve(route):
        answer = route.fetch()
        path = re.sub(r"^https?://[^/]+|[?#].*$", "", route.request.url)
        name = built_in.get(path) or ("view.html" if path.startswith("/view/") else path.rsplit("/", 1)[-1])
        if name == "app-config.js":
            port = re.search(r"hostname}:(\d+)/", answer.text())[1]
            text = "".join((folder / part).read_text() for part in ("ohif-patience.js", "ohif-config.js")).replace("__CONSOLE_PORT__", port)
        else:
            text = next(folder.rglob(name)).read_text()
        route.fulfill(response=answer, body=text)

    context.route(re.compile(r"^https://[^/]+(/|/studies|/photo|/invitation|/account|/view/[0-9.]+|/assets/[a-z.]+|/app-config\.js)([?#].*)?$"), serve)


def page_of(browser, eyes, **how):
    # The vault's certificate is its own authority's.
    context = browser.new_context(ignore_https_errors=True, **{"viewport": {"width": 1100, "height": 800}, **how})
    context.set_default_timeout(PATIENCE_MS)
    if "LEADGLASS_PAGES" in os.environ:
        work_on(context, Path(os.environ["LEADGLASS_PAGES"]))
    page = context.new_page()
    eyes.watch(page)
    return page


def sign_in(page, base, token):
    page.goto(base + "/")
    page.click("#by-token summary")
    page.fill("#token", token)
    page.click("#send")
    page.wait_for_url(base + "/studies")


class Vault:
    """The vault's other side: what a modality and a program do."""

    def __init__(self, base, token, ca):
        self.base, self.token = base, token
        self.trust = ssl.create_default_context(cafile=ca)

    def store(self, sets):
        boundary = "browser-tests"
        body = io.BytesIO()
        for data in sets:
            body.write(f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode())
            data.save_as(body, enforce_file_format=True)
            body.write(b"\r\n")
        body.write(f"--{boundary}--\r\n".encode())
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/dicom+json",
                   "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
        request = urllib.request.Request(f"{self.base}/dicomweb/studies", body.getvalue(), headers)
        with urllib.request.urlopen(request, context=self.trust) as answer:
            assert answer.status == 200, answer.status
            assert "00081198" not in json.load(answer), "something was refused"


def series_of(template, count, name, side=128):
    """A CT series that was never taken: slices that differ, numbered from 1, in one study of its own."""
    study, series = pydicom.uid.generate_uid(prefix="2.25."), pydicom.uid.generate_uid(prefix="2.25.")
    y, x = np.mgrid[:side, :side]
    out = []
    for index in range(count):
        data = pydicom.dcmread(template)
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(prefix="2.25.")
        data.PatientName, data.PatientID, data.InstanceNumber = name, "BROWSER-1", index + 1
        data.SeriesDescription = "Slices"
        data.Rows = data.Columns = side
        data.PixelSpacing, data.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient, data.RescaleSlope, data.RescaleIntercept = [0, 0, 2.5 * index], 1, 0
        data.WindowCenter, data.WindowWidth = 40, 400
        for absent in ("WindowCenterWidthExplanation", "PixelPaddingValue", "SliceLocation"):
            if absent in data:
                delattr(data, absent)
        hounsfield = (x - side / 2) * 12 + index % 40 * 9 - 200
        disc = (x - 20 - 2 * (index % 45)) ** 2 + (y - 30 - 10 * (index // 45)) ** 2 < 300
        hounsfield[disc] = 900
        data.PixelData = hounsfield.astype("<i2").tobytes()
        out.append(data)
    return out


def values(data, frame=1):
    """Modality values of a frame."""
    pixels = data.pixel_array
    if int(data.get("NumberOfFrames", 1)) > 1:
        pixels = pixels[frame - 1]
    return pixels.astype(np.float64) * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))


def windowed(x, center, width, inverse=False):
    """PS3.3 C.11.2.1.2.1, to 8 bits."""
    y = np.clip(((x - (center - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255, 0, 255)
    return np.round(255 - y if inverse else y)


def seen(page, size):
    """The middle of the active canvas, at 1:1, as the screen shows it: rows × columns × RGB."""
    rows, columns = size
    box = page.evaluate("""() => {
        const canvas = document.querySelector(".pane.active canvas");
        const { left, top } = canvas.getBoundingClientRect();
        return { left, top, width: canvas.width, height: canvas.height };
    }""")
    middle = lambda start, whole, part: int(np.floor(start + 0.5)) + int(np.floor((whole - part) / 2 + 0.5))
    top, left = middle(box["top"], box["height"], rows), middle(box["left"], box["width"], columns)
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(np.float64)
    return pixels[top : top + rows, left : left + columns]


def same(shown, wanted, what, tolerance=1.01):
    """Every pixel, within one step of grey for rounding."""
    if wanted.ndim == 2:
        wanted = np.repeat(wanted[:, :, None], 3, axis=2)
    assert shown.shape == wanted.shape, f"{what}: {shown.shape} instead of {wanted.shape}"
    worst = np.abs(shown - wanted).max()
    assert worst <= tolerance, f"{what}: off by {worst}, {np.mean(np.abs(shown - wanted) > tolerance):.1%} of the pixels"
    assert wanted.max() - wanted.min() > 20, f"{what}: a picture of one grey proves nothing"


def keep(page, folder, name):
    Path(folder).mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(Path(folder) / f"{name}.png"))


def arguments(*names):
    return dict(zip(names, sys.argv[1:], strict=True))
