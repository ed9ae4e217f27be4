// From stored bits to grey (PS3.3 §C.11, PS3.4 §N.2): modality transform, window or VOI table, polarity. For up to 16 bits
// the whole way is one table with an entry for each pattern of stored bits, so that a drag repaints at the screen's pace.

// The number that a pattern of stored bits stands for, and what the modality makes of it.
function meaning(image) {
  const drop = image.high + 1 - image.stored;
  const modulus = 2 ** image.stored;
  const table = image.modalityTable;
  const { signed, slope, intercept } = image;
  return (bits) => {
    let value = drop > 0 ? Math.floor(bits / 2 ** drop) % modulus : bits % modulus;
    if (signed && value >= modulus / 2) value -= modulus;
    if (!table) return value * slope + intercept;
    return table.entries[Math.min(Math.max(value - table.first, 0), table.entries.length - 1)];
  };
}

// Least and greatest value of a frame; padding is no image.
export function range(raw, image) {
  const of = meaning(image);
  const padding = image.padding === undefined ? NaN : image.padding * image.slope + image.intercept;
  let [low, high] = [Infinity, -Infinity];
  const look = (value) => {
    if (value === padding) return;
    if (value < low) low = value;
    if (value > high) high = value;
  };
  if (image.allocated <= 16) {
    const seen = new Uint8Array(65536);
    for (let at = 0; at < raw.length; at += 1) seen[raw[at]] = 1;
    for (let bits = 0; bits < 65536; bits += 1) if (seen[bits]) look(of(bits));
  } else {
    for (let at = 0; at < raw.length; at += 1) look(of(raw[at]));
  }
  return low <= high ? { low, high } : { low: 0, high: 1 };
}

// The windows that an image brings along, then those that are usual for its kind.
export function presets(image, modality) {
  const own = image.centers
    .map((center, at) => ({ name: image.names[at] || (image.centers.length > 1 ? `Window ${at + 1}` : "As sent"), center, width: image.widths[at] }))
    .filter(({ width }) => width > 0);
  const usual = modality === "CT" && image.isMono
    ? [["Soft tissue", 40, 400], ["Lung", -600, 1500], ["Bone", 480, 2500], ["Brain", 40, 80], ["Angio", 300, 600]]
    : [];
  return [
    ...(image.voiTable ? [{ name: "Table as sent", table: true }] : []),
    ...own,
    ...usual.map(([name, center, width]) => ({ name, center, width })),
    { name: "Full range", full: true },
  ];
}

// From a value to grey, 0 to 1.
function grey(view, image) {
  if (view.table && image.voiTable) {
    const { first, bits, entries } = image.voiTable;
    const top = 2 ** bits - 1;
    return (value) => entries[Math.min(Math.max(Math.round(value) - first, 0), entries.length - 1)] / top;
  }
  const { center, width } = view;
  if (image.shape === "SIGMOID") return (value) => 1 / (1 + Math.exp((-4 * (value - center)) / width));
  if (image.shape === "LINEAR_EXACT") return (value) => (value - center) / width + 0.5;
  // PS3.3 §C.11.2.1.2.1; a width of 1 is a threshold.
  if (width <= 1) return (value) => (value <= center - 0.5 ? 0 : 1);
  return (value) => (value - (center - 0.5)) / (width - 1) + 0.5;
}

// `view` is { center, width } or { table: true }, and { inverted }. Gives RGBA of the frame.
export function paint(raw, image, view) {
  const of = meaning(image);
  const shade = grey(view, image);
  const inverse = image.isInverse !== Boolean(view.inverted);
  const level = (bits) => {
    const y = Math.min(Math.max(shade(of(bits)), 0), 1);
    // A window's width is divided into 256 steps of one size, as the standard's y range 0 to 255 rounds.
    const shown = Math.round(y * 255);
    return inverse ? 255 - shown : shown;
  };
  const out = new Uint8ClampedArray(raw.length * 4);
  const pixels = new Uint32Array(out.buffer);
  const packed = (g) => ((255 << 24) | (g << 16) | (g << 8) | g) >>> 0;
  if (image.allocated <= 16) {
    const table = new Uint32Array(image.allocated <= 8 ? 256 : 65536);
    for (let bits = 0; bits < table.length; bits += 1) table[bits] = packed(level(bits));
    for (let at = 0; at < raw.length; at += 1) pixels[at] = table[raw[at]];
  } else {
    for (let at = 0; at < raw.length; at += 1) pixels[at] = packed(level(raw[at]));
  }
  return out;
}
