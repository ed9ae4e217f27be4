// The page behind an invitation's link: whoever holds it chooses how he will sign in.

import { $, element } from "./dom.js";
import { canPasskeys, makePasskey } from "./passkey.js";
import { ask } from "./server.js";

// The secret stands behind the # and is sent in bodies only. It does not stay in the address.
const invitation = location.hash.slice(1);
history.replaceState(null, "", "/invitation");

function say(text) {
  $("message").textContent = text;
  $("message").className = text ? "note bad" : "note";
}

async function begin() {
  try {
    const offer = await (await ask("/api/v1/invitation", { method: "POST", json: { invitation } })).json();
    $("hello").textContent = `Welcome, ${offer.name}. You will sign in as ${offer.login}.`;
    $("login").value = offer.login;
    $("secret").textContent = offer.totp_secret.match(/.{1,4}/g).join(" ");
    $("address").href = offer.totp_address;
    $("by-password").hidden = !offer.may_password;
    $("passkey").disabled = !canPasskeys();
    $("choice").hidden = false;
  } catch (error) {
    say(error.message);
  }
}

async function take(button, proof) {
  button.disabled = true;
  say("");
  try {
    const json = { invitation, ...(await proof()) };
    const { codes } = await (await ask("/api/v1/invitation/accept", { method: "POST", json })).json();
    $("choice").hidden = true;
    $("codes").replaceChildren(...codes.map((code) => element("li", {}, code)));
    $("codes-part").hidden = !codes.length;
    $("done").hidden = false;
    $("password").value = "";
  } catch (error) {
    say(error.message);
    button.disabled = false;
  }
}

$("passkey").addEventListener("click", () => take($("passkey"), () => makePasskey("/api/v1/invitation/passkey", { invitation })));
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  take($("send"), async () => ({ password: $("password").value, code: $("code").value }));
});
begin();
