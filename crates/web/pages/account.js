// One's own account: devices, passkeys, recovery codes.

import { action, change, say, showsAfter, when } from "./desk.js";
import { $, element } from "./dom.js";
import { makePasskey } from "./passkey.js";
import { ask, get } from "./server.js";
import { lock, signOut, watch } from "./session.js";

function device(each) {
  const here = each.this ? " (this one)" : "";
  const lost = () => ask("/api/v1/account/lost", { method: "POST", json: { device: each.id } });
  const words = element("span", {}, element("strong", {}, each.label + here), element("br"), `last used ${when(each.last_ms)}`);
  return element("li", {}, words, action("Lost", `${each.label} is lost`, lost));
}

function passkey(each) {
  const remove = () => ask(`/api/v1/account/passkeys/${each.id}`, { method: "DELETE" });
  const words = element("span", {}, element("strong", {}, `Made on ${each.device}`), element("br"), `last used ${when(each.last_ms)}`);
  return element("li", {}, words, action("Remove", `Remove the passkey made on ${each.device}`, remove));
}

function token(each) {
  const end = () => ask(`/api/v1/account/tokens/${each.id}`, { method: "DELETE" });
  const words = element("span", {}, element("strong", {}, each.label), element("br"), `ends ${when(each.ends_ms)}`);
  return element("li", {}, words, action("End", `End the token ${each.label}`, end));
}

async function show() {
  try {
    const account = await (await get("/api/v1/account")).json();
    $("devices").replaceChildren(...account.devices.map(device));
    $("passkeys").replaceChildren(...account.own_passkeys.map(passkey));
    $("tokens").replaceChildren(...account.tokens.map(token));
    $("manage").hidden = account.role !== "admin";
    $("things").hidden = !["admin", "dpo"].includes(account.role);
    $("tokens-card").hidden = ["admin", "dpo"].includes(account.role);
    $("keyhost-card").hidden = !["admin", "dpo"].includes(account.role);
    $("keyhost-passkey").replaceChildren(...account.own_passkeys.map((each) =>
      element("option", { value: each.id }, `Made on ${each.device}, last used ${when(each.last_ms)}`)));
    $("codes-card").hidden = !account.password;
    $("left").textContent = `${account.codes} are left.`;
    $("all").hidden = false;
  } catch (error) {
    say(error.message);
  }
}

$("add").addEventListener("click", () => change($("add"), async () => {
  const made = await makePasskey("/api/v1/account/passkeys");
  await ask("/api/v1/account/passkeys", { method: "POST", json: made });
  say("The passkey is added.", false);
}));
$("renew").addEventListener("click", () => change($("renew"), async () => {
  const { codes } = await (await ask("/api/v1/account/codes", { method: "POST" })).json();
  $("codes").replaceChildren(...codes.map((code) => element("li", {}, code)));
}));
$("new-token").addEventListener("submit", (event) => {
  event.preventDefault();
  change($("make-token"), async () => {
    const json = { label: $("token-label").value.trim(), days: Number($("token-days").value) };
    const made = await (await ask("/api/v1/account/tokens", { method: "POST", json })).json();
    $("token-text").textContent = made.token;
    $("token-made").hidden = false;
    $("new-token").reset();
  });
});
$("keyhost").addEventListener("submit", (event) => {
  event.preventDefault();
  change($("bring"), async () => {
    const json = { code: $("keyhost-code").value.trim(), passkey: $("keyhost-passkey").value };
    const { fingerprint } = await (await ask("/api/v1/keyhost/passkeys", { method: "POST", json })).json();
    $("keyhost-fingerprint").textContent = fingerprint;
    $("keyhost-made").hidden = false;
    $("keyhost").reset();
  });
});
$("lock").addEventListener("click", lock);
$("out").addEventListener("click", signOut);
showsAfter(show);
watch();
show();
