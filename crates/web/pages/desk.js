// Pages on which something is changed: what went wrong is said, what cannot be taken back asks once more, and what changed is shown.

import { $, element } from "./dom.js";

let show = async () => {};

// What shows the page anew after each change.
export function showsAfter(work) {
  show = work;
}

export function say(text, bad = true) {
  $("message").textContent = text;
  $("message").className = text && bad ? "note bad" : "note";
}

export const when = (ms) => (ms ? new Date(ms).toLocaleString() : "never");

export async function change(button, work) {
  button.disabled = true;
  say("");
  try {
    await work();
    await show();
  } catch (error) {
    say(error.message);
  }
  button.disabled = false;
}

// What cannot be taken back asks once more, in its own place.
export function action(name, label, work, sure = false) {
  const button = element("button", { class: "button", type: "button", "aria-label": label }, name);
  button.addEventListener("click", () => {
    if (sure && !button.dataset.asked) {
      button.dataset.asked = "yes";
      button.textContent = `${name}: sure?`;
      return;
    }
    change(button, work);
  });
  return button;
}
