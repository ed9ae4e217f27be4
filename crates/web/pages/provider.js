// The way back from a practice's own sign-in service: what it gave the browser is handed over once, and stands in no address after.

import { $ } from "./dom.js";
import { inside } from "./next.js";
import { ask } from "./server.js";

const given = new URLSearchParams(location.search);
history.replaceState(null, "", "/provider");

function sorry(text) {
  $("message").textContent = text;
  $("message").className = "note bad";
  $("again").hidden = false;
}

const [state, code] = [given.get("state"), given.get("code")];
if (!state || !code) sorry("The sign-in service of your practice did not let you in.");
else {
  const iss = given.get("iss");
  try {
    await ask("/api/v1/session", { method: "POST", json: { state, code, ...(iss && { iss }) } });
    location.replace(inside(sessionStorage.getItem("next")));
  } catch (error) {
    sorry(error.status === 401 ? "Your practice's sign-in service knows you, and you have no role here. Ask your administrator." : error.message);
  }
  sessionStorage.removeItem("next");
}
