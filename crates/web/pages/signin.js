// The sign-in page: a token goes in once, a session comes out, and the token is forgotten.

import { $ } from "./dom.js";
import { ask } from "./server.js";
import { signOut } from "./session.js";

// Only pages of this house are led back to.
function next() {
  const wanted = new URLSearchParams(location.hash.slice(1)).get("next") || "";
  return /^\/(studies|photo|view\/[0-9.]{1,64})$/.test(wanted) ? wanted : "/studies";
}

function say(text) {
  $("message").textContent = text;
  $("message").className = text ? "note bad" : "note";
}

function inside(session) {
  $("form").hidden = true;
  $("inside").hidden = false;
  $("who").textContent = `Signed in: ${session.label}`;
}

async function begin() {
  let answer = null;
  try {
    answer = await ask("/api/v1/session");
  } catch (error) {
    say(error.message);
  }
  if (answer?.status === 200) {
    inside(await answer.json());
    return;
  }
  $("form").hidden = false;
  $("token").focus();
  if (answer && location.hash.includes("next=")) say("Please sign in: the last session is over.");
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  if (!token) {
    say("Type or paste the access token.");
    $("token").focus();
    return;
  }
  $("send").disabled = true;
  say("");
  try {
    await ask("/api/v1/session", { method: "POST", json: { token } });
    $("token").value = "";
    location.replace(next());
  } catch (error) {
    say(error.status === 401 ? "This token is not valid, or not any more." : error.message);
    $("send").disabled = false;
    $("token").select();
  }
});
$("out").addEventListener("click", signOut);
begin();
