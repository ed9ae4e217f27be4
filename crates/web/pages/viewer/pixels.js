// From the bytes of a native frame (PS3.5 §8) to numbers: raw stored bits for one sample a pixel, RGBA for colours.

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
const BIG_ENDIAN = "1.2.840.10008.1.2.2";

function aligned(bytes, size, swap) {
  const copy = bytes.slice().buffer;
  if (swap) {
    const octets = new Uint8Array(copy);
    for (let at = 0; at + size <= octets.length; at += size) octets.subarray(at, at + size).reverse();
  }
  return copy;
}

function words(bytes, image, syntax) {
  const swap = (syntax === BIG_ENDIAN) === LITTLE;
  if (image.allocated === 16) return new Uint16Array(aligned(bytes, 2, swap), 0, bytes.length >> 1);
  if (image.allocated === 32) return new Uint32Array(aligned(bytes, 4, swap), 0, bytes.length >> 2);
  return bytes;
}

function bits(bytes, count) {
  const out = new Uint8Array(count);
  for (let at = 0; at < count; at += 1) out[at] = (bytes[at >> 3] >> (at & 7)) & 1;
  return out;
}

// 8-bit samples of a colour image, one plane after the other or pixel by pixel, as RGBA.
function colours(bytes, image) {
  const count = image.rows * image.columns;
  const out = new Uint8ClampedArray(count * 4);
  const ybr = image.photometric.startsWith("YBR_FULL");
  const put = (at, a, b, c) => {
    if (ybr) {
      const [cb, cr] = [b - 128, c - 128];
      out[at] = a + 1.402 * cr;
      out[at + 1] = a - 0.344136 * cb - 0.714136 * cr;
      out[at + 2] = a + 1.772 * cb;
    } else {
      out[at] = a;
      out[at + 1] = b;
      out[at + 2] = c;
    }
    out[at + 3] = 255;
  };
  if (image.photometric === "YBR_FULL_422" && bytes.length < count * 3) {
    for (let pair = 0; pair * 2 < count; pair += 1) {
      const [y1, y2, cb, cr] = bytes.subarray(pair * 4, pair * 4 + 4);
      put(pair * 8, y1, cb, cr);
      if (pair * 2 + 1 < count) put(pair * 8 + 4, y2, cb, cr);
    }
    return out;
  }
  for (let at = 0; at < count; at += 1) {
    if (image.planar) put(at * 4, bytes[at], bytes[count + at], bytes[2 * count + at]);
    else put(at * 4, bytes[at * 3], bytes[at * 3 + 1], bytes[at * 3 + 2]);
  }
  return out;
}

function painted(raw, palette) {
  const out = new Uint8ClampedArray(raw.length * 4);
  const shift = palette.map((colour) => (colour.bits > 8 ? colour.bits - 8 : 0));
  for (let at = 0; at < raw.length; at += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      const { first, entries } = palette[channel];
      const index = Math.min(Math.max(raw[at] - first, 0), entries.length - 1);
      out[at * 4 + channel] = entries[index] >> shift[channel];
    }
    out[at * 4 + 3] = 255;
  }
  return out;
}

// What the page can show by itself; the others it asks the vault to render.
export function isReadable(image) {
  // Floating point pixels (PS3.3 §C.7.6.24) come under other tags, in the same sizes.
  if (!(image.rows > 0 && image.columns > 0) || image.isFloat || image.lacksTable) return false;
  if (image.samples === 1 && image.allocated === 1) return (image.rows * image.columns) % 8 === 0;
  if (image.isMono) return [8, 16, 32].includes(image.allocated);
  if (image.photometric === "PALETTE COLOR") return [8, 16].includes(image.allocated) && image.palette !== null;
  return image.samples === 3 && image.allocated === 8 && /^(RGB|YBR_FULL|YBR_FULL_422)$/.test(image.photometric);
}

// Gives { raw } or { rgba }.
export function read(bytes, image, syntax) {
  const count = image.rows * image.columns;
  const need = (count * image.samples * image.allocated) / 8;
  const short = image.photometric === "YBR_FULL_422" ? count * 2 : need;
  if (bytes.length < short) throw new Error("The image is shorter than its header says.");
  if (image.samples === 3) return { rgba: colours(bytes, image) };
  const raw = image.allocated === 1 ? bits(bytes, count) : words(bytes, image, syntax).subarray(0, count);
  if (image.photometric === "PALETTE COLOR") return { rgba: painted(raw, image.palette) };
  return { raw };
}
