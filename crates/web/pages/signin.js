// The sign-in page: a passkey, a password with a code, or a token goes in once, a session comes out, and it is forgotten.

import { $, element } from "./dom.js";
import { askForPasskey, canPasskeys } from "./passkey.js";
import { inside } from "./next.js";
import { ask } from "./server.js";
import { lockScreen } from "./lock.js";
import { signOut } from "./session.js";

const next = () => inside(new URLSearchParams(location.hash.slice(1)).get("next"));

function say(text) {
  $("message").textContent = text;
  $("message").className = text ? "note bad" : "note";
}

function welcome(session) {
  $("outside").hidden = true;
  $("inside").hidden = false;
  $("own").hidden = !session.account;
  $("who").textContent = `Signed in: ${session.label}`;
}

// The practice's own sign-in services, where there are any.
async function offer() {
  try {
    const { providers, tokens } = await (await ask("/api/v1/session/providers")).json();
    $("by-token").hidden = !tokens;
    $("providers").replaceChildren(...providers.map(({ id, name }) => {
      const button = element("button", { class: "button wide", type: "button" }, `Sign in with ${name}`);
      button.addEventListener("click", async () => {
        button.disabled = true;
        say("");
        try {
          const { address } = await (await ask(`/api/v1/session/providers/${id}`, { method: "POST" })).json();
          sessionStorage.setItem("next", next());
          location.assign(address);
        } catch (error) {
          say(error.message);
          button.disabled = false;
        }
      });
      return element("p", {}, button);
    }));
  } catch {
    // The other ways are there.
  }
}

async function begin() {
  let answer = null;
  try {
    answer = await ask("/api/v1/session");
  } catch (error) {
    say(error.message);
  }
  if (answer?.status === 200) {
    const session = await answer.json();
    if (session.locked) {
      addEventListener("sessionopen", () => location.replace(next()), { once: true });
      lockScreen(session);
    } else welcome(session);
    return;
  }
  await offer();
  $("outside").hidden = false;
  $("passkey").disabled = !canPasskeys();
  if (answer && location.hash.includes("next=")) say("Please sign in: the last session is over.");
}

// Whoever is let in goes on to where he wanted; whoever is not is told so.
async function enter(button, proof, again, refused) {
  button.disabled = true;
  say("");
  try {
    await ask("/api/v1/session", { method: "POST", json: await proof() });
    location.replace(next());
  } catch (error) {
    say((error.status === 401 && refused) || error.message);
    button.disabled = false;
    again?.();
  }
}

$("passkey").addEventListener("click", () => enter($("passkey"), () => askForPasskey("/api/v1/session/passkey")));

$("person").addEventListener("submit", (event) => {
  event.preventDefault();
  const missing = ["login", "password", "code"].find((id) => !$(id).value.trim());
  if (missing) {
    say("Type your sign-in name, your password and a code.");
    $(missing).focus();
    return;
  }
  const proof = async () => ({ login: $("login").value, password: $("password").value, code: $("code").value });
  enter($("enter"), proof, () => {
    $("code").value = "";
    $("password").select();
  });
});

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  if (!token) {
    say("Type or paste the access token.");
    $("token").focus();
    return;
  }
  enter($("send"), async () => ({ token }), () => $("token").select(), "This token is not valid, or not any more.");
});

$("out").addEventListener("click", signOut);
begin();
