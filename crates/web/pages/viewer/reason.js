// Why somebody wants to see a study of a patient whom he is not known to treat: asked in a dialog, recorded by the vault.

import { $, element } from "./dom.js";
import { askForPasskey, canPasskeys } from "./passkey.js";
import { ask } from "./server.js";

const LEAST = 15;

// In an emergency the person shows once more who he is.
async function proof(form) {
  if (form.elements.password.value) return { password: form.elements.password.value, code: form.elements.code.value };
  if (!canPasskeys()) throw new Error("Type your password and a one-time code.");
  return askForPasskey("/api/v1/care/emergency/passkey");
}

// The end of what was opened, in milliseconds since 1970; `null` when somebody thought better of it.
export function askForReason(study) {
  const [dialog, form] = [$("reason"), $("reason-form")];
  form.reset();
  $("reason-proof").hidden = true;
  $("reason-wrong").textContent = "";
  dialog.showModal();
  form.elements.why.focus();
  return new Promise((resolve) => {
    let found = null;
    const send = async (event) => {
      event.preventDefault();
      if (event.submitter?.value === "cancel") {
        dialog.close();
        return;
      }
      const reason = form.elements.why.value.trim();
      const emergency = form.elements.emergency.checked;
      $("reason-wrong").textContent = "";
      if (reason.length < LEAST) {
        $("reason-wrong").textContent = "Say it in a sentence.";
        form.elements.why.focus();
        return;
      }
      $("reason-send").disabled = true;
      try {
        const path = emergency ? "/api/v1/care/emergency" : "/api/v1/care/reason";
        const more = emergency ? await proof(form) : {};
        const answer = await ask(path, { method: "POST", json: { study, reason, ...more } });
        found = { ends: (await answer.json()).ends_ms, emergency };
        dialog.close();
      } catch (error) {
        $("reason-wrong").textContent = error.message;
      } finally {
        $("reason-send").disabled = false;
        form.elements.password.value = "";
        form.elements.code.value = "";
      }
    };
    const turn = () => {
      $("reason-proof").hidden = !form.elements.emergency.checked;
    };
    const over = () => {
      form.removeEventListener("submit", send);
      form.elements.emergency.removeEventListener("change", turn);
      resolve(found);
    };
    form.addEventListener("submit", send);
    form.elements.emergency.addEventListener("change", turn);
    dialog.addEventListener("close", over, { once: true });
  });
}

// As long as an emergency goes on, nobody forgets it.
export function banner(ends) {
  const until = new Date(ends).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const made = element("p", { class: "emergency", role: "alert" }, `Emergency access until ${until}. It is recorded, and somebody will look at it.`);
  document.body.prepend(made);
  setTimeout(() => made.remove(), Math.max(0, ends - Date.now()));
}
