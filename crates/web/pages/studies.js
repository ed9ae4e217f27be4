// The list of studies. What is searched for stands in no address: it is kept in the tab's history and sent to the vault only.

import { date, number, person, text, time, values } from "./dicom.js";
import { $, element } from "./dom.js";
import { json } from "./server.js";
import { signOut, watch } from "./session.js";

const PAGE = 50;
const TERMS = ["name", "id", "from", "to", "modality"];
const SETTLE_MS = 250;

let shown = 0;
let running = new AbortController();
let timer = 0;

function terms() {
  return Object.fromEntries(TERMS.map((id) => [id, $(id).value.trim()]));
}

function query({ name, id, from, to, modality }, offset) {
  const asked = new URLSearchParams();
  // The family name stands before the given name, with a caret between; people type commas and spaces.
  const clean = (typed) => typed.replace(/[\\^=*?]/g, " ").trim();
  if (clean(name)) asked.set("PatientName", `*${clean(name).split(/[\s,]+/).filter(Boolean).join("*")}*`);
  if (clean(id)) asked.set("PatientID", `*${clean(id)}*`);
  const day = (typed) => typed.replaceAll("-", "");
  if (from || to) asked.set("StudyDate", `${day(from)}-${day(to)}`);
  if (modality) asked.set("ModalitiesInStudy", modality);
  asked.set("includefield", "StudyDescription");
  asked.set("limit", String(PAGE + 1));
  asked.set("offset", String(offset));
  return `/dicomweb/studies?${asked}`;
}

function row(study) {
  const series = number(study, "00201206", 0);
  const images = number(study, "00201208", 0);
  const counted = (count, one, many) => (count ? `${count} ${count === 1 ? one : many}` : "");
  const born = date(study, "00100030");
  const about = [text(study, "00100020"), born && `born ${born}`, text(study, "00081030")].filter(Boolean).join(" · ");
  const many = [counted(series, "series", "series"), counted(images, "object", "objects")].filter(Boolean).join(", ");
  const link = element("a", { href: `/view/${text(study, "0020000D")}` },
    element("span", { class: "who" }, person(study, "00100010") || "Without a name"),
    element("span", { class: "when" }, [date(study, "00080020"), time(study, "00080030")].filter(Boolean).join(" ")),
    element("span", { class: "soft" }, about),
    element("span", { class: "kinds", title: many }, values(study, "00080061").join(", ")));
  return element("li", {}, link);
}

async function show(offset) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const asked = terms();
  history.replaceState(asked, "");
  $("count").textContent = "Looking…";
  $("more").hidden = true;
  try {
    const waiting = (word) => {
      $("count").textContent = word;
    };
    const found = await json(query(asked, offset), { signal, waiting });
    if (offset === 0) $("list").replaceChildren();
    $("message").textContent = "";
    const rows = found.slice(0, PAGE);
    $("list").append(...rows.map(row));
    shown = offset + rows.length;
    $("more").hidden = found.length <= PAGE;
    if (shown === 0) $("count").textContent = TERMS.some((id) => asked[id]) ? "Nothing fits. Look for less." : "There are no studies yet.";
    else $("count").textContent = `${shown}${found.length > PAGE ? " and more" : ""} ${shown === 1 ? "study" : "studies"}`;
  } catch (error) {
    if (signal.aborted) return;
    $("count").textContent = "";
    $("message").textContent = error.message;
  }
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(() => show(0), SETTLE_MS);
}

// Arrow keys walk through the list, from the search fields as well.
addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  if (event.target.matches?.("select, input[type=date]")) return;
  const links = [...$("list").querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  const to = event.key === "ArrowDown" ? at + 1 : at - 1;
  if (to < 0 && at >= 0) $("name").focus();
  else if (links[to]) links[to].focus();
  else return;
  event.preventDefault();
});

$("search").addEventListener("input", soon);
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  show(0);
});
$("search").addEventListener("reset", () => setTimeout(() => show(0)));
for (const button of document.querySelectorAll("[data-days]")) {
  button.addEventListener("click", () => {
    const local = (at) => new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
    const from = new Date();
    from.setDate(from.getDate() - Number(button.dataset.days));
    $("from").value = local(from);
    $("to").value = local(new Date());
    show(0);
  });
}
$("more").addEventListener("click", () => show(shown));
$("out").addEventListener("click", signOut);

for (const id of TERMS) $(id).value = history.state?.[id] ?? "";
watch();
show(0);
