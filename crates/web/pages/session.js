// Keeps the session alive while somebody works, covers the screen once it is locked, and clears it once it is over.

import { lockScreen, release } from "./lock.js";
import { ask, leave } from "./server.js";

const LOOK_EVERY = 60_000;
const USE_EVERY = 120_000;

let idle = 0;

async function look(used) {
  try {
    const answer = await ask(used ? "/api/v1/session?used" : "/api/v1/session");
    if (answer.status === 204) {
      leave();
      return;
    }
    const session = await answer.json();
    if (session.locked) {
      lockScreen(session);
      return;
    }
    release();
    // It is looked at again when it would be locked, not a minute later.
    clearTimeout(idle);
    const left = session.idle_ends_ms - Date.now() + 1000;
    if (left > 0 && left < LOOK_EVERY) idle = setTimeout(() => look(false), left);
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

// Whoever goes away from a screen that others see.
export async function lock() {
  await ask("/api/v1/session", { method: "PUT", json: { locked: true } });
  await look(false);
}

export function watch() {
  let told = performance.now();
  const used = () => {
    if (performance.now() - told < USE_EVERY) return;
    told = performance.now();
    look(true);
  };
  for (const event of ["pointerdown", "keydown", "wheel"]) addEventListener(event, used, { passive: true, capture: true });
  addEventListener("sessionlocked", () => look(false));
  setInterval(() => look(false), LOOK_EVERY);
  // A page that the browser kept aside must not show what a later visitor may not see.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
}
