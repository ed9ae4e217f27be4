// A job of the key service, in plain words, and the passkey that approves it.

import { $ } from "./dom.js";
import { askForPasskey } from "./passkey.js";
import { ask, get } from "./server.js";
import { lock, signOut, watch } from "./session.js";

const PURPOSES = {
  "subject-request": "because a person asked for her images",
  "erasure": "as part of an erasure",
  "research": "for research",
  "quality": "for quality assurance",
  "legal-claim": "for a legal claim",
  "storage-check": "to rebuild, check or move the vault",
};
const STATES = { open: "", approved: "It is approved.", ended: "It is used, or its time is over." };

let id = "";

function say(text, bad = true) {
  $("message").textContent = text;
  $("message").className = text && bad ? "note bad" : "note";
}

const when = (ms) => new Date(ms).toLocaleString();

function words(job) {
  const many = job.studies === 1 ? "1 study" : `${job.studies} studies`;
  const which = job.named ? `${many}, which the job names` : `at most ${many}, which the job does not name`;
  if (job.action === "destroy") return `The keys of ${which}, are destroyed. Nobody will ever open them again.`;
  if (job.action === "unwrap") return `The keys of ${which}, may be opened ${PURPOSES[job.purpose] ?? "for another purpose"}.`;
  return `The key service does this: ${job.action}. It is approved on the key host only.`;
}

function show(job) {
  id = job.id;
  $("job").value = id;
  $("words").textContent = words(job);
  $("times").textContent = job.state === "open"
    ? `Approve it before ${when(job.expires_ms)}. It may be done until ${when(job.until_ms)}.` : STATES[job.state];
  $("text").textContent = job.text;
  $("approve").hidden = job.state !== "open";
  $("shown").hidden = false;
}

const address = () => `/api/v1/keyhost/approvals/${encodeURIComponent(id)}`;

async function work(button, job) {
  button.disabled = true;
  say("");
  try {
    await job();
  } catch (error) {
    say(error.message);
  }
  button.disabled = false;
}

const look = () => work($("look"), async () => {
  $("shown").hidden = true;
  id = $("job").value.trim();
  if (id) show(await (await get(address())).json());
});

$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  look();
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  work($("lodge"), async () => {
    const json = { purpose: $("purpose").value, studies: Number($("studies").value), hours: Number($("hours").value) };
    show(await (await ask("/api/v1/keyhost/approvals", { method: "POST", json })).json());
  });
});
$("approve").addEventListener("click", () => work($("approve"), async () => {
  const { answer } = await askForPasskey(`${address()}/passkey`);
  await ask(address(), { method: "PUT", json: { answer } });
  show(await (await get(address())).json());
  say("The key service has your approval.", false);
}));
$("lock").addEventListener("click", lock);
$("out").addEventListener("click", signOut);
watch();
$("job").value = decodeURIComponent(location.hash.slice(1));
if ($("job").value) look();
