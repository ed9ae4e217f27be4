// Asks the vault, as the one who is signed in. Who is no longer signed in is led to the sign-in page and back.

export class ServerError extends Error {
  constructor(status, code, sentence, request) {
    super(sentence);
    this.status = status;
    this.code = code;
    this.request = request;
  }
}

// Who waits in silence gives up after some tries; who is told why it takes long is told until it works again, or goes away.
const ATTEMPTS = 12;
const LONGEST_S = 15;

const wait = (seconds, signal) => new Promise((resolve, reject) => {
  signal?.throwIfAborted();
  const over = () => {
    clearTimeout(timer);
    for (const kind of ["online", "vaultback"]) removeEventListener(kind, go);
    signal?.removeEventListener("abort", stop);
  };
  const stop = () => {
    over();
    reject(signal.reason);
  };
  const go = () => {
    over();
    resolve();
  };
  const timer = setTimeout(go, seconds * 1000);
  // What one request learns, the others need not wait for.
  for (const kind of ["online", "vaultback"]) addEventListener(kind, go);
  signal?.addEventListener("abort", stop);
});

// Longer each time, and not at the same moment as everybody else.
const pause = (attempt) => Math.min(attempt, LONGEST_S) * (0.75 + Math.random() / 2);

export function leave() {
  const here = location.pathname;
  location.replace(here === "/" ? "/" : `/#next=${encodeURIComponent(here)}`);
}

async function problem(answer) {
  const request = answer.headers.get("x-request-id") || "";
  try {
    const body = await answer.json();
    return new ServerError(answer.status, body.code || "", body.detail || answer.statusText, request);
  } catch {
    return new ServerError(answer.status, "", `The vault answered ${answer.status}.`, request);
  }
}

// Who waits for his person goes on when he is back. A page that has no lock screen leads to the one that has.
const watched = () => new Promise((resolve) => {
  addEventListener("sessionopen", resolve, { once: true });
  dispatchEvent(new Event("sessionlocked"));
});

const PASSING = new Set([429, 502, 503, 504]);

// A vault that is busy, away, or whose key service is away, is asked again; when it says how long to wait, after that time.
// `waiting` is told so in a sentence, and in an empty one once it works again. `read` takes the answer's body: what breaks off
// there is asked for again, too.
export async function ask(path, { accept, signal, method = "GET", json, waiting, read } = {}) {
  const headers = {};
  if (accept) headers.Accept = accept;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const body = json === undefined ? undefined : JSON.stringify(json);
  const mayAgain = (attempt) => method === "GET" && (waiting !== undefined || attempt < ATTEMPTS);
  for (let attempt = 1; ; attempt += 1) {
    let [rest, word] = [pause(attempt), "The vault cannot be reached. Trying again…"];
    try {
      const answer = await fetch(path, { method, headers, body, signal, cache: "no-store", credentials: "same-origin" });
      if (answer.ok) {
        const taken = read ? await read(answer) : answer;
        if (attempt > 1) {
          waiting?.("");
          dispatchEvent(new Event("vaultback"));
        }
        return taken;
      }
      if (!PASSING.has(answer.status) || !mayAgain(attempt)) {
        const refused = await problem(answer);
        if (refused.code !== "session-locked" || path === "/api/v1/session") throw refused;
        // Nothing of it was done.
        await watched();
        continue;
      }
      await answer.body?.cancel();
      rest = Math.max(Number(answer.headers.get("retry-after")) || 0, rest);
      word = "The vault cannot open images at the moment. Trying again…";
    } catch (error) {
      // What is no word of the vault's and no mistake of ours is the network's.
      if (signal?.aborted || !(error instanceof TypeError)) throw error;
      if (!mayAgain(attempt)) throw new ServerError(0, "unreachable", "The vault cannot be reached.", "");
    }
    waiting?.(word);
    await wait(rest, signal);
  }
}

// As `ask`, for pages behind the sign-in.
export async function get(path, options) {
  try {
    return await ask(path, options);
  } catch (error) {
    if (error instanceof ServerError && error.status === 401) leave();
    throw error;
  }
}

export function json(path, options) {
  const read = (answer) => (answer.status === 204 ? [] : answer.json());
  return get(path, { accept: "application/dicom+json", read, ...options });
}
