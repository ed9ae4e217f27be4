"""A data protection officer brings her passkey to the key service with a code from the key host, has it confirmed there, and approves an
erasure with it, on the page that shows her what she signs.
Arguments: the link of her invitation, a study, the key service's program, its data, a folder for pictures of the screen."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from house import Eyes, chromium, expect, page_of

link, study, program, data, shots = *sys.argv[1:5], Path(sys.argv[5])
shots.mkdir(parents=True, exist_ok=True)
parts = urlsplit(link)
base = f"{parts.scheme}://{parts.netloc}"
eyes = Eyes(base)


def key_host(*words):
    """The other machine, where somebody else sits."""
    done = subprocess.run([program, "--json", "--data", data, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return json.loads(done.stdout.strip().splitlines()[-1])


def asked(page, method, path, body=None):
    """A request of the page's own: status and answer."""
    return page.evaluate("""async ([method, path, body]) => {
        const answer = await fetch(path, { method, body: body === null ? undefined : JSON.stringify(body) });
        const text = await answer.text();
        return [answer.status, text.startsWith("{") ? JSON.parse(text) : text];
    }""", [method, path, body])


with chromium() as browser:
    page = page_of(browser, eyes)
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True,
        "automaticPresenceSimulation": True}})
    page.goto(link)
    page.click("#passkey")
    expect(page.locator("#done")).to_be_visible()

    # She orders an erasure; it waits for the key host.
    page.goto(base + "/account")
    expect(page.locator("#keyhost-card")).to_be_visible()
    status, order = asked(page, "POST", "/api/v1/erasures", {"level": "study", "study": study, "ground": "objection", "no_rule": True})
    assert status == 201, order
    erasure = f"/api/v1/erasures/{order['id']}"
    eyes.forgiven = ("409", "403")
    status, waits = asked(page, "POST", erasure + "/run")
    assert (status, waits["code"]) == (409, "key-host-approval"), waits
    job = asked(page, "GET", erasure)[1]["key_host_approval"]

    # The page says in words what is signed. A passkey that the key service does not know approves nothing.
    page.goto(f"{base}/approve#{job}")
    expect(page.locator("#words")).to_contain_text("The keys of 1 study")
    expect(page.locator("#words")).to_contain_text("destroyed")
    assert '"action":"destroy"' in page.locator("#text").text_content()
    page.screenshot(path=shots / "asked.png")
    page.click("#approve")
    expect(page.locator("#message")).to_have_class("note bad")
    expect(page.locator("#approve")).to_be_visible()

    # Enrolment: a wrong code is refused; the right one brings the passkey, which counts once it is confirmed.
    tenant = key_host("tenant", "list")["tenants"][0]["tenant"]
    added = key_host("people", "add", "--tenant", tenant, "--role", "dpo", "--label", "Officer")
    page.goto(base + "/account")
    expect(page.locator("#keyhost-passkey option")).to_have_count(1)
    page.fill("#keyhost-code", "00000-00000-00000-00000")
    page.locator("#keyhost button").click()
    expect(page.locator("#message")).to_have_class("note bad")
    page.fill("#keyhost-code", added["code"])
    page.locator("#keyhost button").click()
    expect(page.locator("#keyhost-made")).to_be_visible()
    fingerprint = page.locator("#keyhost-fingerprint").inner_text()
    page.screenshot(path=shots / "brought.png")
    page.goto(f"{base}/approve#{job}")
    page.click("#approve")
    expect(page.locator("#message")).to_have_class("note bad")
    assert asked(page, "POST", erasure + "/run")[0] == 409
    key_host("people", "confirm", added["id"], "--fingerprint", fingerprint)

    # Approved: the page says so, offers nothing more, and the erasure runs to its end.
    page.goto(base + "/account")
    eyes.forgiven = ()
    page.goto(f"{base}/approve")
    page.fill("#job", job)
    page.click("#look")
    expect(page.locator("#words")).to_contain_text("destroyed")
    page.click("#approve")
    expect(page.locator("#message")).to_contain_text("The key service has your approval")
    expect(page.locator("#times")).to_contain_text("approved")
    expect(page.locator("#approve")).to_be_hidden()
    page.screenshot(path=shots / "approved.png")
    status, done = asked(page, "POST", erasure + "/run")
    assert (status, done["stage"]) == (200, "done"), done
    given = key_host("approvals")["approvals"]
    assert [each["given_by"] for each in given] == [added["id"]], given

    # Another job, asked for on this page, approved on it.
    page.goto(base + "/approve")
    page.select_option("#purpose", "subject-request")
    page.fill("#studies", "12")
    page.click("#lodge")
    expect(page.locator("#words")).to_contain_text("at most 12 studies")
    page.click("#approve")
    expect(page.locator("#message")).to_contain_text("The key service has your approval")
    eyes.check("approving")
