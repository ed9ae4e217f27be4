"use strict";
// Sends the chosen files one after the other, each in a form of its own: what is stored stays stored, and only what failed
// is sent again. The answer to the first names the study and the series into which the others go.
//
// A form has a random key. When no answer came, nobody knows whether the file is stored: the same form goes again, under the
// same key, and the vault stores it once.

const $ = (id) => document.getElementById(id);
const state = { items: [], study: "", series: "", sending: false, about: "", signedIn: false };

// Who is signed in needs no token; the browser proves it with its cookie, which no script sees.
async function access() {
  let told = null;
  try {
    const answer = await fetch("/api/v1/session", { cache: "no-store", credentials: "same-origin" });
    if (answer.status === 200) told = await answer.json();
  } catch {
    // The upload itself will say what is wrong.
  }
  state.signedIn = told !== null;
  $("access").hidden = state.signedIn;
  $("signed").textContent = told ? `Signed in: ${told.label}` : "";
  $("signed").hidden = !told;
}

function proof() {
  const token = $("token").value.trim();
  return state.signedIn || !token ? {} : { Authorization: `Bearer ${token}` };
}

function say(text, kind) {
  $("message").textContent = text;
  $("message").className = kind ? `note ${kind}` : "note";
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function size(bytes) {
  return bytes < 1048576 ? `${Math.max(1, Math.round(bytes / 1024))} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;
}

// Files.

function add(files) {
  for (const file of files) {
    const item = { file, done: false, row: element("li"), state: element("p", "state", size(file.size)), bar: element("progress") };
    const middle = element("div");
    let picture;
    if (file.type.startsWith("image/")) {
      picture = element("img");
      picture.src = URL.createObjectURL(file);
      picture.alt = "";
    } else {
      picture = element("span", "paper", "PDF");
      picture.setAttribute("aria-hidden", "true");
    }
    item.picture = picture;
    item.bar.max = 1;
    item.bar.value = 0;
    item.bar.hidden = true;
    item.bar.setAttribute("aria-label", `Sending ${file.name}`);
    item.remove = element("button", "button remove", "✕");
    item.remove.type = "button";
    item.remove.setAttribute("aria-label", `Remove ${file.name}`);
    item.remove.addEventListener("click", () => drop(item));
    middle.append(element("span", "name", file.name), item.state, item.bar);
    item.row.append(picture, middle, item.remove);
    $("files").append(item.row);
    state.items.push(item);
  }
  say("");
  label();
}

function drop(item) {
  if (item.picture.src) URL.revokeObjectURL(item.picture.src);
  item.row.remove();
  state.items = state.items.filter((other) => other !== item);
  label();
  $("gallery").focus();
}

function waiting() {
  return state.items.filter((item) => !item.done);
}

function label() {
  const count = waiting().length;
  $("send").textContent = count > 1 ? `Send ${count} files` : "Send";
}

for (const id of ["camera", "gallery"]) {
  $(id).addEventListener("change", (event) => {
    add(event.target.files);
    event.target.value = "";
  });
}

// The patient: who is known is shown, so that nobody is mixed up.

let asked = 0;
async function look() {
  const number = $("patient-id").value.trim();
  const mine = ++asked;
  const hint = $("known");
  hint.textContent = "";
  hint.className = "hint";
  $("new-patient").hidden = false;
  if (!number || !(state.signedIn || $("token").value.trim()) || /[*?\\]/.test(number)) return;
  try {
    const answer = await fetch(`/dicomweb/studies?PatientID=${encodeURIComponent(number)}&limit=1`, {
      headers: { ...proof(), Accept: "application/dicom+json" }, cache: "no-store", credentials: state.signedIn ? "same-origin" : "omit",
    });
    if (mine !== asked) return;
    if (answer.status === 401) { await unknown(); return; }
    const found = answer.status === 200 ? await answer.json() : [];
    if (mine !== asked) return;
    if (found.length === 0) {
      hint.textContent = "Not known yet: type the name as well.";
      return;
    }
    const value = (tag) => (found[0][tag] && found[0][tag].Value && found[0][tag].Value[0]) || "";
    const name = (value("00100010").Alphabetic || "").split("^").filter(Boolean).join(", ");
    const born = String(value("00100030")).replace(/^(\d{4})(\d{2})(\d{2})$/, "$1-$2-$3");
    hint.textContent = `Known: ${name || "without a name"}${born ? `, born ${born}` : ""}`;
    hint.className = "hint found";
    $("new-patient").hidden = true;
  } catch {
    // The upload itself will say what is wrong.
  }
}
$("patient-id").addEventListener("change", look);
$("token").addEventListener("change", look);

// Nobody knows this browser, or not any more.
async function unknown() {
  const was = state.signedIn;
  await access();
  complain("token", was ? "You are signed out. Sign in again, or type a token." : "The access token is not valid.");
}

// Sending.

function offset() {
  const taken = $("taken").value ? new Date($("taken").value) : new Date();
  const minutes = -taken.getTimezoneOffset();
  const two = (n) => String(Math.abs(n)).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${two(Math.trunc(minutes / 60))}:${two(minutes % 60)}`;
}

function fields() {
  const clean = (id) => $(id).value.replace(/[\^=\\]/g, " ").trim();
  const known = $("new-patient").hidden;
  const name = [clean("family"), clean("given")].join("^").replace(/\^$/, "");
  return {
    patient_id: $("patient-id").value.trim(),
    patient_name: known ? "" : name,
    birth_date: known ? "" : $("born").value,
    sex: known ? "" : $("sex").value,
    description: $("description").value.trim(),
    body_part: $("part").value,
    laterality: $("side").value,
    taken_at: $("taken").value,
    utc_offset: offset(),
  };
}

function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function send(item, about) {
  const typed = JSON.stringify(about);
  if (!item.form || item.form.typed !== typed) {
    const series = item.file.type === "application/pdf" ? "" : state.series;
    item.form = { typed, key: randomKey(), study: state.study, series };
  }
  const form = new FormData();
  form.append("key", item.form.key);
  for (const [name, value] of Object.entries(about)) form.append(name, value);
  form.append("study_uid", item.form.study);
  if (item.form.series) form.append("series_uid", item.form.series);
  // The file's own name may name the patient: it is not sent.
  form.append("file", item.file, "file");
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/v1/uploads");
    for (const [name, value] of Object.entries(proof())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.timeout = 600000;
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) item.bar.value = event.loaded / event.total;
      item.state.textContent = event.loaded === event.total ? "Sealing…" : "Sending…";
    });
    const failed = (text) => () => resolve({ status: 0, body: { detail: text } });
    request.addEventListener("load", () => resolve({ status: request.status, body: request.response || {} }));
    request.addEventListener("error", failed("The vault cannot be reached. Check the connection and send again."));
    request.addEventListener("timeout", failed("It took too long. Send again where the connection is better."));
    request.send(form);
  });
}

function complain(id, text) {
  say(text, "bad");
  $(id).setAttribute("aria-invalid", "true");
  $(id).focus();
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (state.sending) return;
  for (const id of ["token", "patient-id"]) $(id).removeAttribute("aria-invalid");
  const about = fields();
  if (!state.signedIn && !$("token").value.trim()) return complain("token", "Type your access token.");
  if (!about.patient_id) return complain("patient-id", "Type the patient’s number.");
  if (waiting().length === 0) { say("Take a photo or choose a file first.", "bad"); $("gallery").focus(); return; }
  // Another patient or another subject is another study.
  const key = JSON.stringify([about.patient_id, about.description, about.body_part, about.laterality]);
  if (key !== state.about) Object.assign(state, { about: key, study: "", series: "" });

  state.sending = true;
  $("send").disabled = true;
  $("send").textContent = "Sending…";
  let stored = 0;
  let refused = 0;
  for (const item of waiting()) {
    item.row.className = "";
    item.bar.hidden = false;
    item.bar.value = 0;
    item.remove.hidden = true;
    item.state.textContent = "Sending…";
    const { status, body } = await send(item, about);
    item.bar.hidden = true;
    const file = body.files && body.files[0];
    if (status === 201 && file && file.outcome === "stored") {
      stored += 1;
      item.done = true;
      item.row.className = "stored";
      item.state.textContent = "✓ Stored";
      state.study = file.study;
      if (item.file.type !== "application/pdf") state.series = file.series;
      continue;
    }
    refused += 1;
    // The vault itself says that nothing is stored: the next try is a new form.
    if (status >= 400 && body.code && (status < 500 || body.code === "busy")) item.form = null;
    item.remove.hidden = false;
    item.row.className = "refused";
    item.state.textContent = body.detail || (file && file.detail) || `Not stored (${status}).`;
    // What is wrong with the token, the patient or the connection is wrong for all of them.
    if (status === 401) { await unknown(); break; }
    if (["patient-differs", "patient-incomplete", "patient-ambiguous"].includes(body.code)) { complain("patient-id", body.detail); break; }
    if (status === 0 || status === 403) break;
  }
  state.sending = false;
  $("send").disabled = false;
  label();
  if (refused === 0) {
    say(stored === 1 ? "The file is stored." : `All ${stored} files are stored.`, "good");
  } else if (!$("form").querySelector("[aria-invalid]")) {
    say(`${refused === 1 ? "One file is" : `${refused} files are`} not stored yet. Nothing of it is kept.`, "bad");
  }
  if (stored > 0) look();
});

label();
access();
