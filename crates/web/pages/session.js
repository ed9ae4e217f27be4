// Keeps the session alive while somebody works, and clears the screen once it is over.

import { ask, leave } from "./server.js";

const LOOK_EVERY = 60_000;
const USE_EVERY = 120_000;

async function look(used) {
  try {
    const answer = await ask(used ? "/api/v1/session?used" : "/api/v1/session");
    if (answer.status === 204) leave();
  } catch {
    // The vault is away; it will be asked again.
  }
}

export async function signOut() {
  try {
    await ask("/api/v1/session", { method: "DELETE" });
  } finally {
    location.replace("/");
  }
}

export function watch() {
  let told = performance.now();
  const used = () => {
    if (performance.now() - told < USE_EVERY) return;
    told = performance.now();
    look(true);
  };
  for (const event of ["pointerdown", "keydown", "wheel"]) addEventListener(event, used, { passive: true, capture: true });
  setInterval(() => look(false), LOOK_EVERY);
  // A page that the browser kept aside must not show what a later visitor may not see.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
}
