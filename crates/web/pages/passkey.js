// Passkeys: what the vault asks a browser for, and what the browser answers, as JSON.

import { ask, ServerError } from "./server.js";

export const canPasskeys = () => "PublicKeyCredential" in window && isSecureContext;

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const known = (list) => (list ?? []).map((each) => ({ ...each, id: bytes(each.id) }));

// What browsers say when a person stops, or when the address is none that passkeys may have.
function plain(error) {
  if (error instanceof ServerError) return error;
  const words = {
    NotAllowedError: "The passkey was not used: it was stopped, took too long, or there is none for this vault here.",
    SecurityError: "Passkeys work under the vault's own name only. Open it by its name, not by a number.",
    InvalidStateError: "This device has a passkey for you already.",
  };
  return new Error(words[error.name] ?? "The passkey could not be used.");
}

// Signs a challenge: {challenge, answer}.
export async function askForPasskey(path) {
  try {
    const { challenge, options } = await (await ask(path, { method: "POST" })).json();
    const wanted = options.publicKey;
    const publicKey = { ...wanted, challenge: bytes(wanted.challenge), allowCredentials: known(wanted.allowCredentials) };
    const made = await navigator.credentials.get({ publicKey });
    const { authenticatorData, clientDataJSON, signature, userHandle } = made.response;
    const response = {
      authenticatorData: text(authenticatorData), clientDataJSON: text(clientDataJSON), signature: text(signature),
      userHandle: userHandle && text(userHandle),
    };
    return { challenge, answer: { id: made.id, rawId: text(made.rawId), type: made.type, response, extensions: {} } };
  } catch (error) {
    throw plain(error);
  }
}

// Makes a passkey: {challenge, answer}.
export async function makePasskey(path, json) {
  try {
    const { challenge, options } = await (await ask(path, { method: "POST", json })).json();
    const wanted = options.publicKey;
    const publicKey = {
      ...wanted, challenge: bytes(wanted.challenge), user: { ...wanted.user, id: bytes(wanted.user.id) },
      excludeCredentials: known(wanted.excludeCredentials),
    };
    const made = await navigator.credentials.create({ publicKey });
    const { attestationObject, clientDataJSON } = made.response;
    const response = { attestationObject: text(attestationObject), clientDataJSON: text(clientDataJSON) };
    return { challenge, answer: { id: made.id, rawId: text(made.rawId), type: made.type, response, extensions: {} } };
  } catch (error) {
    throw plain(error);
  }
}
