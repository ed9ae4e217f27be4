// The screen of a session that nobody used for a while: who it is, and one more proof. What was there stays, and is not seen.

import { element } from "./dom.js";
import { askForPasskey, canPasskeys } from "./passkey.js";
import { ask, leave } from "./server.js";

let shown = null;

function field(label, input) {
  return element("div", { class: "field" }, element("label", { for: input.id }, label), input);
}

function build(session) {
  const wrong = element("p", { class: "lock-wrong", role: "alert" });
  const passkey = element("button", { class: "button main wide", type: "button", id: "lock-passkey" }, "Go on with a passkey");
  const password = element("input", { id: "lock-password", type: "password", autocomplete: "current-password", maxlength: "256" });
  const code = element("input", { id: "lock-code", autocomplete: "one-time-code", autocapitalize: "characters", spellcheck: "false", maxlength: "24" });
  const send = element("button", { class: "button wide", type: "submit" }, "Go on");
  const form = element("form", { novalidate: "" }, field("Password", password), field("Code", code), send);
  const other = element("button", { class: "button wide", type: "button" }, "Somebody else? Sign out");
  const title = element("h2", { id: "lock-title" }, `Locked: ${session.label}`);
  const words = element("p", {}, "This session was not used for a while. Show once more who you are, and go on where you were.");
  const dialog = element("dialog", { class: "lock", "aria-labelledby": "lock-title" }, title, words, passkey, form, wrong, other);
  passkey.hidden = !session.passkey;
  passkey.disabled = !canPasskeys();
  form.hidden = !session.password;
  return { dialog, form, wrong, passkey, password, code, other };
}

async function goOn(parts, proof) {
  parts.wrong.textContent = "";
  try {
    await ask("/api/v1/session", { method: "PUT", json: { locked: false, ...(await proof()) } });
    open();
  } catch (error) {
    // It may be over meanwhile, or open in another tab.
    if (error.status === 401 && !(await look())) return;
    parts.wrong.textContent = error.message;
    parts.code.value = "";
    parts.password.value = "";
    if (!parts.form.hidden) parts.password.focus();
  }
}

// Whether it is still locked; if not, the page goes on, or leads to the sign-in.
async function look() {
  const answer = await ask("/api/v1/session");
  if (answer.status === 204) {
    leave();
    return false;
  }
  if ((await answer.json()).locked) return true;
  open();
  return false;
}

function open() {
  const dialog = shown;
  shown = null;
  document.documentElement.classList.remove("locked");
  dialog?.remove();
  dispatchEvent(new Event("sessionopen"));
}

// What another tab opened is open here, too.
export function release() {
  if (shown) open();
}

// Covers the page until its person is back. `session` is what the vault says of a locked one.
export function lockScreen(session) {
  if (shown) return;
  const parts = build(session);
  shown = parts.dialog;
  document.documentElement.classList.add("locked");
  document.body.append(parts.dialog);
  parts.dialog.showModal();
  // Escape does not open it.
  parts.dialog.addEventListener("cancel", (event) => event.preventDefault());
  parts.dialog.addEventListener("close", () => {
    if (shown === parts.dialog) parts.dialog.showModal();
  });
  parts.passkey.addEventListener("click", () => goOn(parts, () => askForPasskey("/api/v1/session/proof")));
  parts.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const missing = [parts.password, parts.code].find((input) => !input.value.trim());
    if (missing) {
      parts.wrong.textContent = "Type your password and a code.";
      missing.focus();
      return;
    }
    goOn(parts, async () => ({ password: parts.password.value, code: parts.code.value }));
  });
  parts.other.addEventListener("click", async () => {
    try {
      await ask("/api/v1/session", { method: "DELETE" });
    } finally {
      location.replace("/");
    }
  });
  (parts.passkey.hidden ? parts.password : parts.passkey).focus();
}
