// Which frames are fetched, how many at a time, and which are kept. Whoever shows frames says what it wants, most urgent
// first; what nobody wants any more is broken off.

const AT_ONCE = 6;
// Phones say how much memory they have; who does not say has some.
const KEPT_BYTES = (navigator.deviceMemory ?? 4) <= 2 ? 64 * 2 ** 20 : 256 * 2 ** 20;
const REMEMBERED_FAILURES = 500;

export class Loader {
  constructor(waiting) {
    this.waiting = waiting;
    this.wants = new Map();
    this.running = new Map();
    this.kept = new Map();
    this.bytes = 0;
    this.failed = new Map();
    this.listeners = new Set();
  }

  // `owner` wants these frames, in this order, and nothing that it wanted before.
  want(owner, frames, view) {
    this.wants.set(owner, { frames, view });
    const wanted = new Set([...this.wants.values()].flatMap((want) => want.frames.map((frame) => frame.key)));
    for (const [key, { stop }] of this.running) {
      if (!wanted.has(key)) stop.abort();
    }
    this.pump();
  }

  leave(owner) {
    this.want(owner, []);
    this.wants.delete(owner);
  }

  // The pixels of a frame, if they are here; they are then the last to go.
  take(frame) {
    const pixels = this.kept.get(frame.key);
    if (!pixels) return null;
    this.kept.delete(frame.key);
    this.kept.set(frame.key, pixels);
    return pixels;
  }

  failure(frame) {
    return this.failed.get(frame.key) ?? null;
  }

  forget(frame) {
    const pixels = this.kept.get(frame.key);
    this.failed.delete(frame.key);
    if (!pixels) return;
    this.kept.delete(frame.key);
    this.bytes -= pixels.bytes;
    pixels.bitmap?.close();
  }

  pump() {
    // In turns, so that two panes share the connections.
    const queues = [...this.wants.values()].map(({ frames, view }) => ({ frames: frames.filter((f) => this.isMissing(f)), view }));
    for (let at = 0; this.running.size < AT_ONCE && queues.some((queue) => at < queue.frames.length); at += 1) {
      for (const { frames, view } of queues) {
        if (this.running.size < AT_ONCE && at < frames.length && this.isMissing(frames[at])) this.start(frames[at], view);
      }
    }
  }

  isMissing(frame) {
    return !this.kept.has(frame.key) && !this.running.has(frame.key) && !this.failed.has(frame.key);
  }

  async start(frame, view) {
    const stop = new AbortController();
    this.running.set(frame.key, { stop });
    try {
      const pixels = await frame.load(stop.signal, this.waiting, view);
      if (stop.signal.aborted) return;
      this.keep(frame, pixels);
    } catch (error) {
      if (stop.signal.aborted) return;
      this.failed.set(frame.key, error);
      if (this.failed.size > REMEMBERED_FAILURES) this.failed.delete(this.failed.keys().next().value);
    } finally {
      this.running.delete(frame.key);
      for (const listener of this.listeners) listener(frame);
      this.pump();
    }
  }

  keep(frame, pixels) {
    this.kept.set(frame.key, pixels);
    this.bytes += pixels.bytes;
    for (const [key, old] of this.kept) {
      if (this.bytes <= KEPT_BYTES || key === frame.key) break;
      this.kept.delete(key);
      this.bytes -= old.bytes;
      old.bitmap?.close();
    }
  }
}
