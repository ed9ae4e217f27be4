// A structured report (PS3.3 §C.17.3) as text: headings, and what was found under them.

import { date, items, person, text, time } from "./dicom.js";
import { element } from "./dom.js";

const CONTENT = "0040A730";
const MOST_ITEMS = 5000;
const DEEPEST = 24;

const meaning = (set, tag) => text(items(set, tag)[0], "00080104") || text(items(set, tag)[0], "00080100");

function number(item) {
  const measured = items(item, "0040A300")[0];
  const unit = text(items(measured, "004008EA")[0], "00080100");
  const value = text(measured, "0040A30A");
  return value ? `${value}${unit && unit !== "1" ? ` ${unit}` : ""}` : "not measured";
}

function words(item) {
  switch (text(item, "0040A040")) {
    case "TEXT": return text(item, "0040A160");
    case "CODE": return meaning(item, "0040A168");
    case "NUM": return number(item);
    case "PNAME": return person(item, "0040A123");
    case "DATE": return date(item, "0040A121");
    case "TIME": return time(item, "0040A122");
    case "DATETIME": return text(item, "0040A120").replace(/^(\d{4})(\d{2})(\d{2})(\d{2})?(\d{2})?.*$/, "$1-$2-$3 $4:$5").replace(/ :$/, "");
    case "UIDREF": return text(item, "0040A124");
    case "IMAGE": return "refers to an image";
    case "WAVEFORM": return "refers to a curve";
    case "COMPOSITE": return "refers to another object";
    case "SCOORD": case "SCOORD3D": return "marks a place in an image";
    default: return "";
  }
}

// Walks without recursion: how deep a report is, its sender decides.
export function report(set) {
  const title = meaning(set, "0040A043") || text(set, "0008103E") || "Report";
  const state = [text(set, "0040A491").toLowerCase(), text(set, "0040A493").toLowerCase()].filter(Boolean).join(", ");
  const when = [date(set, "00080023"), time(set, "00080033")].filter(Boolean).join(" ");
  const root = element("dl");
  const todo = items(set, CONTENT).map((item) => ({ item, into: root, depth: 0 })).reverse();
  let count = 0;
  while (todo.length && count < MOST_ITEMS) {
    const { item, into, depth } = todo.pop();
    count += 1;
    const name = meaning(item, "0040A043");
    const said = words(item);
    if (name) into.append(element("dt", {}, name));
    if (said) into.append(element("dd", {}, said));
    const below = items(item, CONTENT);
    if (!below.length) continue;
    const box = depth < DEEPEST ? element("dl", { class: "under" }) : into;
    if (box !== into) into.append(element("dd", {}, box));
    todo.push(...below.map((next) => ({ item: next, into: box, depth: depth + 1 })).reverse());
  }
  const left = todo.length ? element("p", {}, "The report goes on; this page shows its beginning.") : null;
  return element("article", {}, element("h2", {}, title), element("p", {}, [when, state].filter(Boolean).join(" · ")), root, left);
}
