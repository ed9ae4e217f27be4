// The frames of a series in the order in which they are looked at, and which of them to fetch ahead.

import { number, text } from "./dicom.js";
import { Frame } from "./frame.js";

const AHEAD = 24;
const BEHIND = 8;

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

function byNumber(a, b) {
  return number(a, "00200013", 0) - number(b, "00200013", 0) || text(a, "00080018").localeCompare(text(b, "00080018"));
}

// How far along the slices' common normal a frame lies; nothing where they are not parallel.
function depths(frames) {
  const places = frames.map((frame) => frame.image.place);
  if (frames.length < 2 || places.some((place) => place === null)) return null;
  const { turn } = places[0];
  const normal = cross(turn.slice(0, 3), turn.slice(3));
  if (places.some((place) => place.turn.some((v, at) => Math.abs(v - turn[at]) > 0.01))) return null;
  const along = places.map((place) => dot(normal, place.position));
  return new Set(along.map((depth) => depth.toFixed(3))).size === frames.length ? along : null;
}

export class Stack {
  // `metadata` are the data sets of a series, `root` the series' address.
  constructor(metadata, root) {
    const pictures = metadata.filter((set) => number(set, "00280010", 0) > 0 && number(set, "00280011", 0) > 0).sort(byNumber);
    this.others = metadata.filter((set) => !pictures.includes(set)).sort(byNumber);
    this.frames = pictures.flatMap((set) => {
      const count = Math.max(1, number(set, "00280008", 1));
      const at = `${root}/instances/${text(set, "00080018")}`;
      return Array.from({ length: count }, (_, index) => new Frame(at, set, index + 1));
    });
    const single = pictures.length === this.frames.length;
    const along = single ? depths(this.frames) : null;
    if (along) {
      // Sorted by place, in the direction that the numbers take.
      const direction = along[along.length - 1] >= along[0] ? 1 : -1;
      const order = this.frames.map((frame, at) => ({ frame, depth: along[at] * direction }));
      this.frames = order.sort((a, b) => a.depth - b.depth).map(({ frame }) => frame);
    }
  }

  get length() {
    return this.frames.length;
  }

  // The frame that is looked at, then those that will be next, more of them in the direction of the last step.
  around(index, direction, playing) {
    const order = [this.frames[index]];
    const ahead = playing ? AHEAD * 2 : AHEAD;
    const at = (place) => (playing ? this.frames[(place + this.length) % this.length] : this.frames[place]);
    for (let step = 1; step <= ahead; step += 1) {
      order.push(at(index + step * direction));
      if (step <= BEHIND) order.push(at(index - step * direction));
    }
    return [...new Set(order.filter(Boolean))];
  }

  // Images a second, as the device tells (PS3.3 §C.7.6.5).
  get speed() {
    const set = this.frames[0]?.set;
    const time = number(set, "00181063", 0);
    const told = number(set, "00082144", 0) || number(set, "00180040", 0) || (time > 0 ? 1000 / time : 0);
    return Math.min(Math.max(Math.round(told || 10), 1), 60);
  }
}
