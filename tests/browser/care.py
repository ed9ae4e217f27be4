"""Who treats whom, as a clinician sees it: the viewer asks why, and a passkey opens in an emergency.
Arguments: the clinician's link, two studies and a third, a folder for pictures of the screen."""

import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

from house import Eyes, chromium, expect, page_of

link, first, second, third, shots = *sys.argv[1:5], Path(sys.argv[5])
shots.mkdir(parents=True, exist_ok=True)
parts = urlsplit(link)
base = f"{parts.scheme}://{parts.netloc}"
eyes = Eyes(base)
FIRST_IMAGE = re.compile("^Image 1 of")
REASON = "Zweitmeinung vor der Operation, Frau CANARY"

with chromium() as browser:
    page = page_of(browser, eyes)
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
               "isUserVerified": True, "automaticPresenceSimulation": True}
    key = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]
    page.goto(link)
    page.click("#passkey")
    expect(page.locator("#done")).to_be_visible()

    # A reason, by keyboard alone. What the vault answers before is a refusal, which the console shows.
    eyes.forgiven = ("403",)
    page.goto(f"{base}/view/{first}")
    dialog = page.locator("#reason")
    expect(dialog).to_be_visible()
    expect(page.locator("#reason-proof")).to_be_hidden()
    page.screenshot(path=shots / "why.png")
    page.keyboard.type("hurry")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#reason-wrong")).to_contain_text("in a sentence")
    page.fill("#why", REASON)
    page.click("#reason-send")
    expect(dialog).to_be_hidden()
    expect(page.locator(".pane.active canvas")).to_have_attribute("aria-label", FIRST_IMAGE)
    expect(page.locator(".emergency")).to_have_count(0)
    assert "CANARY" not in page.url
    page.reload()
    expect(page.locator(".pane.active canvas")).to_have_attribute("aria-label", FIRST_IMAGE)

    # Somebody thinks better of it: nothing is shown, and nothing was opened.
    page.goto(f"{base}/view/{third}")
    expect(dialog).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    expect(page.locator(".pane .word")).not_to_be_empty()
    eyes.check("a reason")

    # An emergency wants the person again. Whom the authenticator does not verify opens nothing.
    page.goto(f"{base}/view/{second}")
    expect(dialog).to_be_visible()
    page.fill("#why", REASON)
    page.get_by_label("This is an emergency").check()
    expect(page.locator("#reason-proof")).to_be_visible()
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": key, "isUserVerified": False})
    page.click("#reason-send")
    expect(page.locator("#reason-wrong")).to_contain_text("passkey was not used")
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": key, "isUserVerified": True})
    page.screenshot(path=shots / "emergency.png")
    page.click("#reason-send")
    expect(dialog).to_be_hidden()
    expect(page.locator(".emergency")).to_contain_text("Emergency access until")
    expect(page.locator(".pane.active canvas")).to_have_attribute("aria-label", FIRST_IMAGE)
    page.screenshot(path=shots / "opened.png")
    eyes.check("an emergency")
