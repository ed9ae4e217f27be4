"""What was away comes back by itself: the key service, the network, the vault. Nothing is reloaded, a plain sentence says what is
going on meanwhile, and OHIF is as patient as the house's own page. Arguments as viewer.py, then OHIF's address or nothing, and the
numbers of the vault's and the key service's processes."""

import os
import re
import signal
from pathlib import Path

from house import Eyes, Vault, arguments, chromium, expect, keep, page_of, series_of, sign_in

given = arguments("base", "token", "ca", "fixtures", "shots", "ohif", "vault", "keyd")
base, ohif, fixtures = given["base"], given["ohif"], Path(given["fixtures"])
eyes = Eyes(base, *([ohif] if ohif else []))
SLICES = 120
BUSY = "The vault cannot open images at the moment. Trying again…"
GONE = "The vault cannot be reached. Trying again…"
# What a browser itself says of an answer that did not come.
TROUBLE = ("status of 503", "net::ERR_")


def at(page, number):
    expect(page.locator(".pane.active canvas")).to_have_attribute("aria-label", re.compile(rf"^Image {number} of {SLICES}\."))


def stays(page):
    """Marks the page; gives what fails when it was loaded anew."""
    page.evaluate("window.mark = 'here'")
    return lambda when: (page.evaluate("window.mark") == "here") or (_ for _ in ()).throw(AssertionError(f"{when}: the page was loaded anew"))


def key_service(page, slices):
    os.kill(int(given["keyd"]), signal.SIGSTOP)
    try:
        page.goto(f"{base}/view/{slices[0].StudyInstanceUID}")
        unchanged = stays(page)
        expect(page.locator("#status")).to_have_text(BUSY)
        expect(page.locator(".pane .word")).to_have_text("Loading…")
        keep(page, given["shots"], "key-service-away")
    finally:
        os.kill(int(given["keyd"]), signal.SIGCONT)
    at(page, 1)
    expect(page.locator("#status")).not_to_have_text(BUSY)
    unchanged("the key service came back")


def network(page):
    unchanged = stays(page)
    page.context.set_offline(True)
    page.keyboard.press("End")
    expect(page.locator("#status")).to_have_text(GONE)
    expect(page.locator(".pane .bottom.right")).to_contain_text(f"Loading {SLICES}…")
    keep(page, given["shots"], "network-away")
    page.context.set_offline(False)
    at(page, SLICES)
    expect(page.locator("#status")).not_to_have_text(GONE)
    unchanged("the network came back")


def vault_itself(page, slices):
    page.goto(f"{base}/view/{slices[0].StudyInstanceUID}")
    at(page, 1)
    unchanged = stays(page)
    os.kill(int(given["vault"]), signal.SIGKILL)
    page.keyboard.press("End")
    at(page, SLICES)
    unchanged("the vault came back")


def in_ohif(page, slices):
    os.kill(int(given["keyd"]), signal.SIGSTOP)
    try:
        page.goto(f"{ohif}/viewer?StudyInstanceUIDs={slices[0].StudyInstanceUID}")
        unchanged = stays(page)
        expect(page.locator("p[role=status]")).to_have_text(BUSY)
        keep(page, given["shots"], "ohif-key-service-away")
    finally:
        os.kill(int(given["keyd"]), signal.SIGCONT)
    expect(page.locator(".cornerstone-canvas").first).to_be_visible()
    page.wait_for_function("""() => {
        const canvas = document.querySelector(".cornerstone-canvas");
        if (!canvas?.width) return false;
        const copy = new OffscreenCanvas(32, 32);
        const context = copy.getContext("2d");
        context.drawImage(canvas, 0, 0, 32, 32);
        const grey = [...context.getImageData(0, 0, 32, 32).data].filter((_, at) => at % 4 === 0);
        return Math.max(...grey) - Math.min(...grey) > 40;
    }""")
    expect(page.locator("p[role=status]")).to_have_text("")
    unchanged("the key service came back")
    keep(page, given["shots"], "ohif-after")


with chromium("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist") as browser:
    vault = Vault(base, given["token"], given["ca"])
    # Each is opened for the first time when the key service is away: no lease stands.
    studies = [series_of(fixtures / "ct-1.dcm", SLICES if n != 2 else 12, f"Browser^Away{n}") for n in range(3)]
    for slices in studies:
        vault.store(slices)
    page = page_of(browser, eyes)
    sign_in(page, base, given["token"])
    eyes.forgiven = TROUBLE
    key_service(page, studies[0])
    network(page)
    if ohif:
        in_ohif(page, studies[2])
    vault_itself(page, studies[1])
    eyes.check("at the end")
print("all is well")
