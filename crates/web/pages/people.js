// Who works here, for whoever manages that: invite, change a role, end an access, say that a device is lost.

import { action, change, say, showsAfter, when } from "./desk.js";
import { $, element } from "./dom.js";
import { ask, get } from "./server.js";
import { signOut, watch } from "./session.js";

const ROLES = ["clinician", "radiographer", "reception", "auditor", "dpo", "admin"];
const FINDINGS = {
  stale: "not used for 90 days",
  shared: "in use in two places at once: is it shared?",
  "invitation-unused": "the invitation was not taken in time",
  "left-with-tokens": "a token was not ended",
};

const roles = (chosen) => ROLES.map((role) => element("option", { value: role, selected: role === chosen }, role));

function link(invited) {
  $("link").textContent = new URL(invited.path, location.href).href;
  $("link-card").hidden = false;
  $("link-card").scrollIntoView({ block: "nearest" });
}

const post = async (path, json) => (await ask(path, { method: "POST", json })).json();

function device(person, each) {
  const words = element("span", {}, element("strong", {}, each.label), element("br"), `last used ${when(each.last_ms)}`);
  const lost = () => post(`/api/v1/people/${person.id}/lost`, { device: each.id });
  return element("li", {}, words, action("Lost", `${each.label} of ${person.name} is lost`, lost, true));
}

async function devices(person, list) {
  try {
    const account = await (await get(`/api/v1/people/${person.id}`)).json();
    const found = account.devices.map((each) => device(person, each));
    list.replaceChildren(...(found.length ? found : [element("li", {}, "No device yet.")]));
  } catch (error) {
    say(error.message);
  }
}

function card(person) {
  const path = `/api/v1/people/${person.id}`;
  const about = [person.role, person.state, `${person.sessions} sessions`, `last signed in ${when(person.last_ms)}`];
  if (person.vouched) about.push("through the practice's own sign-in service");
  const findings = person.findings.map((word) => element("p", { class: "note bad" }, FINDINGS[word] ?? word));
  const head = element("summary", {}, `${person.name} (${person.login})`);
  const role = element("select", { "aria-label": `Role of ${person.name}` }, ...roles(person.role));
  role.addEventListener("change", () => change(role, () => ask(`${path}/role`, { method: "PUT", json: { role: role.value } })));
  const again = async () => link(await post(`${path}/invitation`));
  const leave = () => ask(path, { method: "DELETE" });
  const list = element("ul", { class: "own" });
  const has_left = person.state === "left";
  const buttons = element("p", { class: "quick" }, action("New invitation", `New invitation for ${person.name}`, again),
    has_left ? null : action("Leaves", `${person.name} does not work here any more`, leave, true));
  const all = element("details", { class: "card" }, head, element("p", { class: "hint" }, about.join(" · ")), ...findings,
    has_left ? null : element("div", { class: "field" }, role), list, buttons);
  all.addEventListener("toggle", () => {
    if (all.open) devices(person, list);
  });
  all.dataset.id = person.id;
  return element("li", {}, all);
}

async function show() {
  try {
    const open = new Set([...document.querySelectorAll("details[data-id]")].filter((each) => each.open).map((each) => each.dataset.id));
    const people = await (await get("/api/v1/people")).json();
    people.sort((a, b) => (a.state === "left") - (b.state === "left"));
    $("people").replaceChildren(...people.map(card));
    for (const each of document.querySelectorAll("details[data-id]")) each.open = open.has(each.dataset.id);
  } catch (error) {
    say(error.message);
  }
}

$("role").append(...roles("clinician"));
$("invite").addEventListener("submit", (event) => {
  event.preventDefault();
  change($("send"), async () => {
    const json = { login: $("login").value.trim(), name: $("name").value.trim() || $("login").value.trim(), role: $("role").value };
    link(await post("/api/v1/people", json));
    $("invite").reset();
  });
});
$("out").addEventListener("click", signOut);
showsAfter(show);
watch();
show();
