// What one frame needs to be shown, read from its instance's metadata (PS3.3 §C.7.6, §C.11). A multi-frame object may tell
// it for each frame apart, in functional groups.

import { items, number, numbers, text, values } from "./dicom.js";

const PER_FRAME = "52009230";
const SHARED = "52009229";
const PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30";

// The data set in which a frame finds a functional group's attributes; the instance itself where there are no groups.
function group(set, frame, sequence) {
  const own = items(set, PER_FRAME)[frame - 1];
  return items(own, sequence)[0] ?? items(items(set, SHARED)[0], sequence)[0] ?? set;
}

function bytesOf(element) {
  if (element?.InlineBinary === undefined) return null;
  return Uint8Array.from(atob(element.InlineBinary), (c) => c.charCodeAt(0));
}

// A look-up table (PS3.3 §C.11.1.1): which value it begins with, how many bits its entries have, the entries.
function table(set, descriptor, data, signed) {
  let [count, first, bits] = numbers(set, descriptor);
  if (!(bits > 0)) return null;
  if (count === 0) count = 65536;
  if (signed && first > 32767) first -= 65536;
  const told = numbers(set, data);
  const bytes = bytesOf(set?.[data]);
  let entries = null;
  if (told.length) entries = Uint16Array.from(told, (v) => v & 0xffff);
  else if (bytes && bytes.length >= 2 * count) entries = new Uint16Array(bytes.slice(0, 2 * count).buffer);
  else if (bytes && bytes.length >= count) entries = Uint16Array.from(bytes);
  if (!entries) return null;
  return { first, bits, entries };
}

export class Image {
  constructor(set, frame) {
    this.set = set;
    this.frame = frame;
    this.rows = number(set, "00280010", 0);
    this.columns = number(set, "00280011", 0);
    this.samples = number(set, "00280002", 1);
    this.allocated = number(set, "00280100", 8);
    this.stored = number(set, "00280101", this.allocated);
    this.high = number(set, "00280102", this.stored - 1);
    this.signed = number(set, "00280103", 0) === 1;
    this.planar = number(set, "00280006", 0) === 1;
    this.photometric = text(set, "00280004").toUpperCase() || "MONOCHROME2";
    this.padding = number(set, "00280120");
    const transform = group(set, frame, "00289145");
    this.slope = number(transform, "00281053", 1) || 1;
    this.intercept = number(transform, "00281052", 0);
    this.unit = text(transform, "00281054");
    this.modalityTable = table(items(set, "00283000")[0], "00283002", "00283006", this.signed);
    const voi = group(set, frame, "00289132");
    this.centers = numbers(voi, "00281050");
    this.widths = numbers(voi, "00281051");
    this.names = values(voi, "00281055").map(String);
    this.shape = text(voi, "00281056").toUpperCase() || "LINEAR";
    this.voiTable = table(items(set, "00283010")[0], "00283002", "00283006", this.signed);
    // A long table does not stand in the metadata, and without it the greys would be others.
    const lacks = (sequence, read) => items(set, sequence).length > 0 && !read;
    this.lacksTable = lacks("00283000", this.modalityTable) || lacks("00283010", this.voiTable);
    const spacing = numbers(group(set, frame, "00289110"), "00280030");
    const ratio = numbers(set, "00280034");
    const imager = numbers(set, "00181164");
    const [down, across] = [spacing, imager, ratio].find((pair) => pair.length === 2 && pair[0] > 0 && pair[1] > 0) ?? [1, 1];
    // How much higher than wide a pixel is.
    this.aspect = down / across;
  }

  get isFloat() {
    const parametric = text(this.set, "00080016") === PARAMETRIC_MAP && this.allocated >= 32;
    return parametric || Boolean(this.set["7FE00008"] || this.set["7FE00009"]);
  }

  get isMono() {
    return this.samples === 1 && this.photometric.startsWith("MONOCHROME");
  }

  // MONOCHROME1, or a presentation LUT that says so: the lowest value is white.
  get isInverse() {
    return this.photometric === "MONOCHROME1" || text(this.set, "20500020").toUpperCase() === "INVERSE";
  }

  get palette() {
    const of = (descriptor, data) => table(this.set, descriptor, data, false);
    const colours = [of("00281101", "00281201"), of("00281102", "00281202"), of("00281103", "00281203")];
    return colours.every(Boolean) ? colours : null;
  }

  // In patient coordinates (PS3.3 §C.7.6.2): where the first pixel lies, and along what rows and columns run.
  get place() {
    const position = numbers(group(this.set, this.frame, "00209113"), "00200032");
    const turn = numbers(group(this.set, this.frame, "00209116"), "00200037");
    return position.length === 3 && turn.length === 6 ? { position, turn } : null;
  }
}
