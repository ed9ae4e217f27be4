// The viewer: one study, one or two panes, a toolbar and keys.

import { date, person, text, time } from "./dicom.js";
import { $, element } from "./dom.js";
import { Loader } from "./loader.js";
import { Pane } from "./pane.js";
import { paper } from "./paper.js";
import { askForReason, banner } from "./reason.js";
import { SeriesList, sorted } from "./series.js";
import { ask, json } from "./server.js";
import { watch } from "./session.js";
import { Stack } from "./stack.js";
import { listen } from "./tools.js";

const STATUS_MS = 8000;
const study = decodeURIComponent(location.pathname.split("/")[2] ?? "");

// A finger scrolls, a mouse has a wheel for that.
let tool = matchMedia("(pointer: coarse)").matches ? "scroll" : "window";
let statusTimer = 0;
let list = null;
const panes = [];
let active = null;
const opened = new Map();

// What keeps somebody waiting stands there until it is over; a sentence that is said again is not read out again.
function status(word) {
  const said = word || ($("status").textContent ? "The vault answers again." : "");
  if ($("status").textContent !== said) $("status").textContent = said;
  clearTimeout(statusTimer);
  if (word) return;
  statusTimer = setTimeout(() => {
    $("status").textContent = "";
  }, STATUS_MS);
}

const loader = new Loader(status);

// Panes.

function addPane() {
  const pane = new Pane(loader, () => {
    if (pane === active) toolbar();
  });
  pane.cine = { last: 0, request: 0 };
  listen(pane, () => tool, () => activate(pane));
  // Whoever comes to its slider by the keyboard means this pane.
  pane.root.addEventListener("focusin", () => {
    if (pane !== active && panes.includes(pane)) activate(pane);
  });
  panes.push(pane);
  $("panes").append(pane.root);
  return pane;
}

function activate(pane) {
  active = pane;
  for (const each of panes) each.root.classList.toggle("active", each === active);
  list?.mark(active.series);
  toolbar();
}

function compare() {
  if (panes.length === 1) {
    const first = active;
    const pane = addPane();
    activate(pane);
    pane.canvas.focus();
    if (first.series) open(list.next(first.series, 1) ?? first.series);
  } else {
    const other = panes.find((pane) => pane !== active);
    stop(other);
    other.close();
    panes.splice(panes.indexOf(other), 1);
    activate(active);
    active.canvas.focus();
  }
}

// Series.

async function stackOf(series, signal) {
  const root = `/dicomweb/studies/${study}/series/${text(series, "0020000E")}`;
  const metadata = await json(`${root}/metadata`, { waiting: status, signal });
  const stack = new Stack(metadata, root);
  return { stack, metadata, root };
}

async function open(series) {
  const pane = active;
  stop(pane);
  pane.opening?.abort();
  pane.opening = new AbortController();
  const { signal } = pane.opening;
  // Nothing of the series before stays on the screen under the new one's name.
  pane.clear();
  pane.wipe();
  loader.want(pane, []);
  pane.series = series;
  pane.paper.hidden = true;
  pane.say("Loading…");
  list.mark(series);
  try {
    let found = opened.get(series);
    if (!found) {
      found = await stackOf(series, signal);
      opened.set(series, found);
    }
    if (signal.aborted) return;
    const { stack, metadata, root } = found;
    pane.open(series, stack, stack.length ? null : paper(stack.others, root));
    patient(metadata[0]);
    $("speed").value = String(stack.speed);
  } catch (error) {
    if (signal.aborted) return;
    if (error.code === "reason-needed" && await reasoned()) {
      await open(series);
      return;
    }
    pane.wipe();
    pane.say(error.message, true);
  }
}

// One question for all that wait for its answer.
let asking = null;
async function reasoned() {
  asking ??= askForReason(study).finally(() => {
    asking = null;
  });
  const given = await asking;
  if (given?.emergency) banner(given.ends);
  return given !== null;
}

function patient(set) {
  const born = date(set, "00100030");
  $("who").textContent = person(set, "00100010") || "Without a name";
  const about = [text(set, "00100020"), born && `born ${born}`, text(set, "00100040"), `${date(set, "00080020")} ${time(set, "00080030")}`.trim(), text(set, "00081030")];
  $("study").textContent = about.filter(Boolean).join(" · ");
}

// Cine.

function play(pane) {
  pane.playing = true;
  pane.cine.last = performance.now();
  const turn = (now) => {
    if (!pane.playing) return;
    const each = 1000 / Math.min(Math.max(Number($("speed").value) || 10, 1), 60);
    if (now - pane.cine.last >= each && pane.isNextHere) {
      pane.cine.last = Math.max(pane.cine.last + each, now - each);
      pane.step(1);
    }
    pane.cine.request = requestAnimationFrame(turn);
  };
  pane.cine.request = requestAnimationFrame(turn);
  pane.go(pane.index);
}

function stop(pane) {
  pane.playing = false;
  cancelAnimationFrame(pane.cine.request);
}

// The toolbar and the keys do the same.

const actions = {
  invert: () => active.invert(),
  fit: () => active.setScale(null),
  actual: () => active.setScale(1),
  reset: () => active.reset(),
  compare,
  cine: () => {
    if (active.playing) stop(active);
    else if (active.stack?.length > 1) play(active);
    toolbar();
  },
};

let presetsShown = "";
function toolbar() {
  const press = (button, on) => button.setAttribute("aria-pressed", String(Boolean(on)));
  for (const button of document.querySelectorAll("[data-tool]")) press(button, button.dataset.tool === tool);
  for (const button of document.querySelectorAll("[data-do]")) {
    const on = { invert: active.view.inverted, cine: active.playing, compare: panes.length > 1 }[button.dataset.do];
    if (on !== undefined) press(button, on);
  }
  $("tools").querySelector("[data-do=cine]").textContent = active.playing ? "Stop" : "Play";
  $("tools").querySelector("[data-do=cine]").disabled = !(active.stack?.length > 1);
  const names = active.presets.map(({ name }) => name);
  if (names.join("\n") !== presetsShown) {
    presetsShown = names.join("\n");
    $("preset").replaceChildren(element("option", { value: "" }, "Window…"), ...names.map((name, at) => element("option", { value: String(at) }, `${at + 1}  ${name}`)));
  }
  $("preset").disabled = names.length === 0;
}

function preset(at) {
  const chosen = active.presets[at];
  if (chosen) active.setWindow(chosen);
}

function setTool(name) {
  tool = name;
  toolbar();
}

const keys = {
  ArrowUp: () => active.step(-1), ArrowLeft: () => active.step(-1), ArrowDown: () => active.step(1), ArrowRight: () => active.step(1),
  PageUp: () => active.step(-10), PageDown: () => active.step(10), Home: () => active.go(0), End: () => active.go(Infinity),
  w: () => setTool("window"), s: () => setTool("scroll"), z: () => setTool("zoom"), p: () => setTool("pan"),
  i: actions.invert, f: actions.fit, a: actions.actual, r: actions.reset, c: compare, " ": actions.cine,
  "+": () => active.zoom(1.25), "=": () => active.zoom(1.25), "-": () => active.zoom(0.8),
  n: () => another(1), b: () => another(-1), "?": () => $("keys").showModal(),
};
const shifted = {
  ArrowLeft: () => active.dragWindow(-10, 0), ArrowRight: () => active.dragWindow(10, 0),
  ArrowUp: () => active.dragWindow(0, -10), ArrowDown: () => active.dragWindow(0, 10),
};

function another(by) {
  const series = list?.next(active.series, by);
  if (series) open(series);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open || $("reason").open) return;
  const slides = event.target.matches?.("input[type=range]") && event.key.length === 1;
  if ((event.target.matches?.("select, input") && !slides) || (event.target.matches?.("button, a") && [" ", "Enter"].includes(event.key))) return;
  if (active.paper.contains(event.target)) return;
  if (event.key === "Tab" && panes.length > 1 && event.target === active.canvas && !event.shiftKey) {
    const other = panes.find((pane) => pane !== active);
    activate(other);
    other.canvas.focus();
    event.preventDefault();
    return;
  }
  const digit = /^[1-9]$/.test(event.key) ? () => preset(Number(event.key) - 1) : undefined;
  const does = event.shiftKey ? shifted[event.key] ?? keys[event.key] : keys[event.key] ?? keys[event.key.toLowerCase()] ?? digit;
  if (!does) return;
  event.preventDefault();
  does();
});

$("tools").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.tool) setTool(button.dataset.tool);
  else if (button?.dataset.do) actions[button.dataset.do]();
});
$("preset").addEventListener("change", (event) => {
  if (event.target.value !== "") preset(Number(event.target.value));
  event.target.value = "";
});
$("help").addEventListener("click", () => $("keys").showModal());

async function elsewhere() {
  try {
    const answer = await ask("/api/v1/session");
    const session = answer.status === 200 ? await answer.json() : {};
    if (!session.viewer_port) return;
    $("elsewhere").href = `https://${location.hostname}:${session.viewer_port}/viewer?StudyInstanceUIDs=${study}`;
    $("elsewhere").hidden = false;
  } catch {
    // Who is not signed in is led away by the first answer.
  }
}

async function begin() {
  activate(addPane());
  active.say("Loading…");
  try {
    const found = sorted(await json(`/dicomweb/studies/${study}/series`, { waiting: status }));
    list = new SeriesList($("series"), study, found, open);
    if (!found.length) {
      active.say("This study has no series.");
      return;
    }
    await open(found[0]);
    active.canvas.focus();
    list.origins(study);
    list.faces();
    elsewhere();
  } catch (error) {
    $("who").textContent = "Viewer";
    active.say(error.status === 404 ? "There is no such study, or you may not see it." : error.message, true);
  }
}

watch();
begin();
