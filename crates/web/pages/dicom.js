// Reads the DICOM JSON model (PS3.18 Annex F): values by tag, people, dates.

export function values(set, tag) {
  return set?.[tag]?.Value ?? [];
}

export function text(set, tag) {
  const value = values(set, tag)[0];
  return value === undefined || value === null ? "" : String(value);
}

// A number, or `otherwise` where there is none.
export function number(set, tag, otherwise = undefined) {
  const value = values(set, tag)[0];
  const read = typeof value === "string" ? Number.parseFloat(value) : value;
  return Number.isFinite(read) ? read : otherwise;
}

export function numbers(set, tag) {
  return values(set, tag).map(Number).filter(Number.isFinite);
}

export function items(set, tag) {
  return values(set, tag).filter((item) => item && typeof item === "object");
}

// PS3.5 §6.2.1: family^given^middle^prefix^suffix, in up to three scripts.
export function person(set, tag) {
  const value = values(set, tag)[0];
  if (!value) return "";
  const one = (name) => {
    const [family = "", given = "", middle = "", prefix = "", suffix = ""] = (name || "").split("^");
    const first = [prefix, given, middle].filter(Boolean).join(" ");
    return [[family, first].filter(Boolean).join(", "), suffix].filter(Boolean).join(" ");
  };
  const alphabetic = one(value.Alphabetic);
  const other = one(value.Ideographic);
  return alphabetic && other ? `${alphabetic} (${other})` : alphabetic || other;
}

export function date(set, tag) {
  return text(set, tag).replace(/^(\d{4})\.?(\d{2})\.?(\d{2})$/, "$1-$2-$3");
}

export function time(set, tag) {
  return text(set, tag).replace(/^(\d{2}):?(\d{2}).*$/, "$1:$2");
}
