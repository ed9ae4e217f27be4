// The list of series: a face, a name, how many images. Faces are small pictures that the vault renders; without one, the kind.

import { number, text } from "./dicom.js";
import { element } from "./dom.js";
import { ask } from "./server.js";

const FACES_AT_ONCE = 2;
const NO_PICTURE = new Set(["SR", "PR", "KO", "DOC", "RTSTRUCT", "RTPLAN", "ECG", "HD", "AU", "REG"]);

// Those that are looked at first: pictures, in the order of their numbers.
export function sorted(list) {
  const late = (series) => (NO_PICTURE.has(text(series, "00080060")) ? 1 : 0);
  return [...list].sort((a, b) => late(a) - late(b) || number(a, "00200011", 0) - number(b, "00200011", 0));
}

const KINDS = { person: "brought in by", program: "sent by", unknown: "sender no longer known" };
const LEVELS = ["known by nothing", "known by its address", "behind a relay with a key", "proved its key"];

function badge({ kind, name, level_number: level }) {
  if (kind !== "device") return element("span", { class: "soft origin" }, [KINDS[kind], name].filter(Boolean).join(" "));
  return element("span", { class: `origin level-${level}`, title: `Level ${level}: ${LEVELS[level]}` }, `${level} · ${name}: ${LEVELS[level]}`);
}

export class SeriesList {
  constructor(root, study, list, open) {
    this.entries = list.map((series) => {
      const uid = text(series, "0020000E");
      const count = number(series, "00201209", 0);
      const kind = text(series, "00080060");
      const face = element("span", { class: "face", "aria-hidden": "true" }, kind);
      const button = element("button", { class: "thumb", type: "button" },
        face,
        element("span", {}, text(series, "0008103E") || `Series ${text(series, "00200011") || kind}`),
        element("span", { class: "soft" }, [kind, count && `${count} ${count === 1 ? "object" : "objects"}`].filter(Boolean).join(" · ")));
      button.addEventListener("click", () => open(series));
      root.append(button);
      return { series, uid, kind, face, button, address: `/dicomweb/studies/${study}/series/${uid}` };
    });
  }

  // Who brought it in. What only its address vouches for may have come from anybody there, and is said to.
  async origins(study) {
    try {
      const answer = await ask(`/api/v1/studies/${study}/origin`, { accept: "application/json" });
      for (const { series, from } of await answer.json()) {
        const entry = this.entries.find(({ uid }) => uid === series);
        for (const one of from) entry?.button.append(badge(one));
      }
    } catch {
      // The images are what he came for.
    }
  }

  mark(current) {
    for (const { series, button } of this.entries) button.setAttribute("aria-current", String(series === current));
  }

  next(current, by) {
    const at = this.entries.findIndex(({ series }) => series === current);
    return this.entries[at + by]?.series ?? null;
  }

  // After the first image: faces must not stand in its way.
  async faces() {
    const todo = this.entries.filter(({ kind }) => !NO_PICTURE.has(kind));
    const work = async () => {
      for (let entry = todo.shift(); entry; entry = todo.shift()) await this.face(entry);
    };
    await Promise.all(Array.from({ length: FACES_AT_ONCE }, work));
  }

  async face({ address, face }) {
    try {
      const answer = await ask(`${address}/thumbnail?viewport=200,200`, { accept: "image/jpeg" });
      const picture = element("img", { alt: "" });
      picture.src = URL.createObjectURL(await answer.blob());
      await picture.decode();
      URL.revokeObjectURL(picture.src);
      face.replaceChildren(picture);
    } catch {
      // The kind stands there already.
    }
  }
}
