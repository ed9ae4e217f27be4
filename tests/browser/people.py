"""Somebody comes with an invitation, makes a passkey, signs in with it and looks after his account; somebody else takes a password.
Arguments: the link of an administrator, the link of a clinician, a folder for pictures of the screen."""

import base64
import hmac
import struct
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from house import Eyes, chromium, expect, page_of

link, by_password, shots = sys.argv[1], sys.argv[2], Path(sys.argv[3])
shots.mkdir(parents=True, exist_ok=True)
parts = urlsplit(link)
base = f"{parts.scheme}://{parts.netloc}"
eyes = Eyes(base)


def authenticator(page, verifies=True):
    """A security key of Chromium's own, which knows whom it belongs to."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
               "isUserVerified": verifies, "automaticPresenceSimulation": True}
    return devtools, devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]


def code(seed):
    key = base64.b32decode(seed.replace(" ", ""))
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30), "sha1").digest()
    at = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7fffffff) % 1000000:06d}"


with chromium() as browser:
    page = page_of(browser, eyes)
    devtools, key = authenticator(page)
    page.goto(link)
    expect(page.locator("#hello")).to_contain_text("You will sign in as boss")
    assert page.evaluate("location.hash") == "", "the secret does not stay in the address"
    expect(page.locator("#by-password")).to_be_hidden()
    page.screenshot(path=shots / "invitation.png")
    page.click("#passkey")
    expect(page.locator("#done")).to_be_visible()
    known = devtools.send("WebAuthn.getCredentials", {"authenticatorId": key})["credentials"]
    assert len(known) == 1 and known[0]["isResidentCredential"] and known[0]["rpId"] == "localhost", known

    # One more passkey, at another authenticator, and then it goes; the last one stays.
    page.goto(base + "/account")
    expect(page.locator("#devices li")).to_have_count(1)
    devtools.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": key})
    _, second = authenticator(page)
    page.click("#add")
    expect(page.locator("#passkeys li")).to_have_count(2)
    page.screenshot(path=shots / "account.png")
    page.locator("#passkeys button").first.click()
    expect(page.locator("#passkeys li")).to_have_count(1)
    eyes.forgiven = ("409",)
    page.locator("#passkeys button").first.click()
    expect(page.locator("#message")).to_contain_text("only way to sign in")
    eyes.check("the account")

    # Locked: what was there is not seen, Escape does not help, and a touch of the passkey goes on.
    page.click("#lock")
    expect(page.locator("dialog.lock")).to_contain_text("Locked: boss")
    expect(page.locator("#devices")).to_be_hidden()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator("dialog.lock")).to_be_visible()
    assert page.evaluate("fetch('/api/v1/session').then((answer) => answer.json())")["locked"]
    page.screenshot(path=shots / "locked.png")
    page.click("#lock-passkey")
    expect(page.locator("dialog.lock")).to_have_count(0)
    expect(page.locator("#devices li").first).to_be_visible()

    # Whoever manages people invites somebody, gives another role, and lets somebody go who has to be meant.
    page.click("#manage")
    page.wait_for_url(base + "/people")
    expect(page.locator("#people > li")).to_have_count(2)
    page.click("#invite-card summary")
    page.fill("#login", "otto")
    page.fill("#name", "Otto Muster")
    page.select_option("#role", "reception")
    page.click("#send")
    expect(page.locator("#link")).to_contain_text(base + "/invitation#")
    otto = page.locator("#people details", has_text="Otto Muster")
    otto.locator("summary").click()
    expect(otto.locator(".own li")).to_have_text(["No device yet."])
    otto.get_by_label("Role of Otto Muster").select_option("clinician")
    expect(otto.locator(".hint")).to_contain_text("clinician · invited")
    page.screenshot(path=shots / "people.png")
    otto.get_by_role("button", name="does not work here").click()
    expect(otto.locator(".hint")).to_contain_text("invited")
    otto.get_by_role("button", name="does not work here").click()
    expect(otto.locator(".hint")).to_contain_text("clinician · left")
    page.goto(base + "/account")
    expect(page.locator("#devices li").first).to_be_visible()

    # Which devices may send: a badge says how sure the vault is of each; a limit is set, and one is revoked who has to be meant.
    page.click("#things")
    page.wait_for_url(base + "/devices")
    sensor = page.locator("#devices details", has_text="sensor-3")
    expect(sensor.locator(".badge")).to_have_text("1 address")
    expect(page.locator("#devices details", has_text="ct-1").locator(".badge")).to_have_text("3 certificate")
    sensor.locator("summary").click()
    expect(sensor).to_contain_text("has sent nothing yet")
    sensor.get_by_label("At most so many images an hour").fill("120")
    sensor.get_by_role("button", name="Set the limits").click()
    expect(sensor.get_by_label("At most so many images an hour")).to_have_value("120")
    page.reload()
    sensor.locator("summary").click()
    expect(sensor.get_by_label("At most so many images an hour")).to_have_value("120")
    page.screenshot(path=shots / "devices.png")
    # What is no number is no limit taken away.
    sensor.get_by_label("At most so many images an hour").fill("0")
    sensor.get_by_role("button", name="Set the limits").click()
    page.reload()
    sensor.locator("summary").click()
    expect(sensor.get_by_label("At most so many images an hour")).to_have_value("120")
    sensor.get_by_role("button", name="may not send any more").click()
    expect(sensor).not_to_contain_text("revoked")
    sensor.get_by_role("button", name="may not send any more").click()
    expect(sensor).to_contain_text("revoked")
    eyes.check("the devices")
    page.goto(base + "/account")
    expect(page.locator("#devices li").first).to_be_visible()

    # Signed out, and in again with nothing typed. An administrator finds no study.
    eyes.forgiven = ("409", "403")
    page.click("#out")
    page.wait_for_url(base + "/")
    page.click("#passkey")
    page.wait_for_url(base + "/studies")
    session = page.evaluate("fetch('/api/v1/session').then((answer) => answer.json())")
    assert session["role"] == "admin" and session["account"], session
    page.goto(base + "/")
    page.click("#out")
    expect(page.locator("#passkey")).to_be_visible()

    # Whom the authenticator did not verify is not let in.
    eyes.forgiven = ("401", "409", "403")
    for known in devtools.send("WebAuthn.getCredentials", {"authenticatorId": second})["credentials"]:
        assert known["signCount"] > 0, known
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": second, "isUserVerified": False})
    page.click("#passkey")
    expect(page.locator("#message")).to_contain_text("passkey was not used")
    # What the passkey lies on is lost. Whoever finds it has the passkey, verified and all, and it opens nothing any more.
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": second, "isUserVerified": True})
    page.click("#passkey")
    page.wait_for_url(base + "/studies")
    page.goto(base + "/account")
    page.get_by_role("button", name="is lost").click()
    page.wait_for_url(base + "/#next=%2Faccount")
    assert devtools.send("WebAuthn.getCredentials", {"authenticatorId": second})["credentials"], "it is still on it"
    with page.expect_response(lambda r: r.url == base + "/api/v1/session" and r.request.method == "POST") as told:
        page.click("#passkey")
    assert told.value.status == 401, told.value.status
    expect(page.locator("#message")).to_be_visible()
    assert page.evaluate("fetch('/api/v1/session').then((answer) => answer.status)") == 204, "nobody is signed in"
    eyes.check("signing in")
    page.context.close()

    # A password, on a phone.
    eyes.forgiven = ("401", "403")
    page = page_of(browser, eyes, viewport={"width": 390, "height": 844}, has_touch=True)
    page.goto(by_password)
    page.click("#by-password summary")
    page.fill("#password", "kiefer-tasse-wolke-nagel")
    page.fill("#code", code(page.inner_text("#secret")))
    page.screenshot(path=shots / "password.png")
    page.click("#send")
    expect(page.locator("#codes li")).to_have_count(10)
    recovery = page.locator("#codes li").first.inner_text()
    second_code = page.locator("#codes li").nth(1).inner_text()
    page.goto(base + "/account")
    # "I lost my phone": this very one; it is out at once.
    page.get_by_role("button", name="is lost").click()
    page.wait_for_url(base + "/#next=%2Faccount")
    page.click("#by-password summary")
    page.fill("#login", "erika")
    page.fill("#password", "kiefer-tasse-wolke-nagel")
    page.fill("#code", recovery)
    page.screenshot(path=shots / "sign-in.png")
    page.click("#enter")
    page.wait_for_url(base + "/account")
    # Locked on the phone; what she does next waits for her, and she needs no mouse to come back.
    expect(page.locator("#devices li").first).to_be_visible()
    page.evaluate("fetch('/api/v1/session', { method: 'PUT', body: JSON.stringify({ locked: true }) })")
    page.click("#renew")
    expect(page.locator("dialog.lock")).to_be_visible()
    page.screenshot(path=shots / "locked-phone.png")
    page.keyboard.type("kiefer-tasse-wolke-nagel")
    page.keyboard.press("Tab")
    page.keyboard.type(second_code)
    page.keyboard.press("Enter")
    expect(page.locator("dialog.lock")).to_have_count(0)
    expect(page.locator("#codes li")).to_have_count(10)
    eyes.check("a password")
