"""Somebody signs in through the practice's own identity provider: a button, and he is in; whoever has no role here is told so.
Arguments: base address, the provider's issuer, a folder for pictures of the screen."""

import json
import sys
import urllib.request
from pathlib import Path

from house import Eyes, chromium, expect, page_of

base, issuer, shots = sys.argv[1].replace("//127.0.0.1", "//localhost"), sys.argv[2], Path(sys.argv[3])
shots.mkdir(parents=True, exist_ok=True)
eyes = Eyes(base, issuer)
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def comes(name):
    direct.open(f"{issuer}/test/person", json.dumps({"name": name}).encode()).read()


with chromium() as browser:
    page = page_of(browser, eyes)
    comes("boss")
    page.goto(base + "/#next=%2Faccount")
    page.screenshot(path=shots / "button.png")
    page.get_by_role("button", name="Sign in with Praxis").last.click()
    page.wait_for_url(base + "/account")
    expect(page.locator("#devices li").first).to_be_visible()
    session = page.evaluate("fetch('/api/v1/session').then((answer) => answer.json())")
    assert (session["role"], session["label"]) == ("admin", "Bea Boss"), session
    assert page.evaluate("sessionStorage.length") == 0
    page.context.close()

    # Known there, and without a role here.
    eyes.forgiven = ("401",)
    page = page_of(browser, eyes)
    comes("max")
    page.goto(base + "/")
    page.get_by_role("button", name="Sign in with Praxis").last.click()
    expect(page.locator("#message")).to_contain_text("no role here")
    assert page.url == base + "/provider", "what was brought stands in no address"
    page.screenshot(path=shots / "no-role.png")
    page.get_by_role("link", name="Back to the sign-in").click()
    expect(page.locator("#passkey")).to_be_visible()
    eyes.check("a provider")
