// Which devices may send, how sure the vault is of each, and how much it sends.

import { action, change, say, showsAfter, when } from "./desk.js";
import { $, element } from "./dom.js";
import { ask, get } from "./server.js";
import { signOut, watch } from "./session.js";

const LEVELS = [
  ["0 anybody", "Anybody who can reach the vault can send as this device."],
  ["1 address", "Known by title and address. Whoever is on its network can forge both; he could add images, and read none."],
  ["2 relay", "A relay beside it proves a key."],
  ["3 certificate", "It proves a key of its own."],
];

const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} KB` : `${(bytes / 1e6).toFixed(1)} MB`);

function certificate(device) {
  if (device.level_number < 2) return "";
  if (!device.keys.length) return "no certificate yet";
  const days = Math.max(...device.keys.map((key) => key.days_left ?? -Infinity));
  if (days === -Infinity) return "certificate not seen yet";
  return days < 0 ? `certificate ended ${-days} days ago` : `certificate: ${days} days left`;
}

function usual(device) {
  if (!device.usual) return "has sent nothing yet";
  const { learning, busiest_hour, largest_bytes } = device.usual;
  return `${learning ? "so far" : "usually"} up to ${busiest_hour} images an hour, ${size(largest_bytes)} each`;
}

function limits(device) {
  const field = (name, label, value, step) => {
    const input = element("input", { id: `${name}-${device.id}`, type: "number", min: step === "any" ? "0.001" : "1", step });
    // What is not a number the browser tells; it must not pass for no limit.
    input.value = value ?? "";
    return [input, element("div", { class: "field" }, element("label", { for: input.id }, label), input)];
  };
  const [images, first] = field("images", "At most so many images an hour (empty: any)", device.most_an_hour, "1");
  const [megabytes, second] = field("mb", "At most so many MB each (empty: any)", device.most_bytes && device.most_bytes / 1e6, "any");
  const send = element("button", { class: "button", type: "submit", "aria-label": `Set the limits of ${device.name}` }, "Set limits");
  const form = element("form", {}, first, second, send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const number = (input, factor) => (input.value.trim() ? Math.round(Number(input.value) * factor) : null);
    const json = { most_an_hour: number(images, 1), most_bytes: number(megabytes, 1e6) };
    change(send, () => ask(`/api/v1/devices/${device.id}/bounds`, { method: "PUT", json }));
  });
  return form;
}

function card(device) {
  const [badge, words] = LEVELS[device.level_number];
  const has_left = device.revoked_ms !== null;
  const is_ours = device.source === "records" && !has_left;
  const head = element("summary", {}, element("span", { class: `badge level-${device.level_number}` }, badge), ` ${device.name}`);
  const about = [has_left ? `revoked ${when(device.revoked_ms)}` : "", `title ${device.aet ?? "any"}`, `from ${device.address}`,
    device.port ? `port ${device.port}` : "", certificate(device), device.source === "records" ? "" : "stands in the configuration file"];
  const revoke = () => ask(`/api/v1/devices/${device.id}`, { method: "DELETE" });
  const all = element("details", { class: "card" }, head, element("p", {}, words),
    element("p", { class: "hint" }, about.filter(Boolean).join(" · ")), element("p", { class: "hint" }, usual(device)),
    is_ours ? limits(device) : null,
    is_ours ? element("p", { class: "quick" }, action("Revoke", `${device.name} may not send any more`, revoke, true)) : null);
  all.dataset.id = device.id;
  return element("li", {}, all);
}

async function show() {
  try {
    const open = new Set([...document.querySelectorAll("details[open]")].map((each) => each.dataset.id));
    const devices = await (await get("/api/v1/devices")).json();
    devices.sort((a, b) => (a.revoked_ms !== null) - (b.revoked_ms !== null) || a.level_number - b.level_number);
    $("devices").replaceChildren(...devices.map(card));
    $("none").hidden = devices.length > 0;
    for (const each of document.querySelectorAll("details[data-id]")) each.open = open.has(each.dataset.id);
  } catch (error) {
    say(error.message);
  }
}

$("out").addEventListener("click", signOut);
showsAfter(show);
watch();
show();
