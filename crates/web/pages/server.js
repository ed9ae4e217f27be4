// Asks the vault, as the one who is signed in. Who is no longer signed in is led to the sign-in page and back.

export class ServerError extends Error {
  constructor(status, code, sentence, request) {
    super(sentence);
    this.status = status;
    this.code = code;
    this.request = request;
  }
}

const ATTEMPTS = 12;

const wait = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, seconds * 1000);
  signal?.addEventListener("abort", () => {
    clearTimeout(timer);
    reject(signal.reason);
  }, { once: true });
});

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

// A vault that is busy, or whose key service is away, says when to come back: then it is asked again. `waiting` is told so.
export async function ask(path, { accept, signal, method = "GET", json, waiting } = {}) {
  const headers = {};
  if (accept) headers.Accept = accept;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const body = json === undefined ? undefined : JSON.stringify(json);
  for (let attempt = 1; ; attempt += 1) {
    let answer;
    try {
      answer = await fetch(path, { method, headers, body, signal, cache: "no-store", credentials: "same-origin" });
    } catch (error) {
      if (error.name === "AbortError" || signal?.aborted || method !== "GET" || attempt >= ATTEMPTS) {
        throw error.name === "AbortError" || signal?.aborted ? error : new ServerError(0, "unreachable", "The vault cannot be reached.", "");
      }
      waiting?.("The vault cannot be reached. Trying again…");
      await wait(Math.min(attempt, 5), signal);
      continue;
    }
    if (answer.ok) return answer;
    const again = answer.status === 503 || answer.status === 429;
    if (again && method === "GET" && attempt < ATTEMPTS) {
      waiting?.("The vault cannot open this at the moment. Trying again…");
      await answer.body?.cancel();
      await wait(Number(answer.headers.get("retry-after")) || 5, signal);
      continue;
    }
    throw await problem(answer);
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

export async function json(path, options) {
  const answer = await get(path, { accept: "application/dicom+json", ...options });
  return answer.status === 204 ? [] : answer.json();
}
