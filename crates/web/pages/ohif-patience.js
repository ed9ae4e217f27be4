// OHIF asks once, and shows nothing where no answer came. Here it is given patience: what the vault cannot give at the moment (its key
// service is away, it starts anew) is asked for again until it comes, and a sentence says so meanwhile.

(() => {
  const PASSING = new Set([429, 502, 503, 504]);
  const LONGEST_S = 15;
  let waiting = 0;

  const note = document.createElement("p");
  note.setAttribute("role", "status");
  Object.assign(note.style, {
    position: "fixed", left: "50%", bottom: "1rem", transform: "translateX(-50%)", margin: "0", padding: "0.5rem 1rem", zIndex: "9999",
    font: "1rem/1.4 system-ui, sans-serif", color: "#e8edf2", background: "#161d24", border: "1px solid #3a4753", borderRadius: "0.4rem",
  });
  const tell = (by) => {
    waiting += by;
    const said = waiting > 0 ? "The vault cannot open images at the moment. Trying again…" : "";
    if (note.textContent === said) return;
    note.textContent = said;
    note.hidden = said === "";
    if (!note.isConnected) document.body?.append(note);
  };

  const isOurs = (method, url) => {
    const to = new URL(url, location.href);
    return String(method).toUpperCase() === "GET" && to.origin === location.origin && to.pathname.startsWith("/dicomweb");
  };
  // Longer each time, and not at the same moment as everybody else.
  const pause = (attempt, told) => Math.max(Number(told) || 0, Math.min(attempt, LONGEST_S) * (0.75 + Math.random() / 2)) * 1000;

  const once = window.fetch;
  window.fetch = async (input, options) => {
    const [url, method] = input instanceof Request ? [input.url, input.method] : [input, options?.method ?? "GET"];
    if (!isOurs(method, url)) return once(input, options);
    const signal = options?.signal ?? input.signal;
    for (let attempt = 1; ; attempt += 1) {
      let told = 0;
      try {
        const answer = await once(input, options);
        if (!PASSING.has(answer.status)) return answer;
        told = answer.headers.get("retry-after");
        await answer.body?.cancel();
      } catch (error) {
        if (signal?.aborted || !(error instanceof TypeError)) throw error;
      }
      tell(1);
      await new Promise((resolve) => {
        setTimeout(resolve, pause(attempt, told));
      });
      tell(-1);
      signal?.throwIfAborted();
    }
  };

  // The same for requests of the older kind. Its own listeners come first, so nobody else hears of what is tried again.
  window.XMLHttpRequest = class extends XMLHttpRequest {
    #asked = null;
    #headers = [];
    #body = null;
    #attempt = 0;
    #resting = 0;

    constructor() {
      super();
      for (const kind of ["readystatechange", "load", "error", "timeout"]) {
        this.addEventListener(kind, (event) => {
          if (this.#resting || this.#fails()) event.stopImmediatePropagation();
        });
      }
      this.addEventListener("loadend", (event) => {
        if (this.#resting || !this.#fails()) return;
        event.stopImmediatePropagation();
        this.#rest(this.getResponseHeader("retry-after"));
      });
    }

    open(method, url, ...more) {
      this.#asked = (more[0] ?? true) && isOurs(method, url) ? [method, url, ...more] : null;
      this.#headers = [];
      this.#attempt = 0;
      this.#wake();
      super.open(method, url, ...more);
    }

    setRequestHeader(name, value) {
      this.#headers.push([name, value]);
      super.setRequestHeader(name, value);
    }

    send(body) {
      this.#body = body;
      super.send(body);
    }

    abort() {
      const rested = this.#resting !== 0;
      this.#asked = null;
      this.#wake();
      super.abort();
      if (rested) for (const kind of ["abort", "loadend"]) this.dispatchEvent(new ProgressEvent(kind));
    }

    #fails() {
      if (!this.#asked) return false;
      return PASSING.has(this.status) || (this.readyState === XMLHttpRequest.DONE && this.status === 0);
    }

    #rest(told) {
      tell(1);
      this.#attempt += 1;
      this.#resting = setTimeout(() => {
        super.open(...this.#asked);
        for (const [name, value] of this.#headers) super.setRequestHeader(name, value);
        this.#wake();
        super.send(this.#body);
      }, pause(this.#attempt, told));
    }

    #wake() {
      if (!this.#resting) return;
      clearTimeout(this.#resting);
      this.#resting = 0;
      tell(-1);
    }
  };
})();
