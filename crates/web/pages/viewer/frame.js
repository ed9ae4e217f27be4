// One frame: where it is, and how it becomes pixels. Asked for as native pixels or as baseline JPEG, which the browser itself
// decodes; what the vault gives neither way it renders, and then it windows it, too.

import { text } from "./dicom.js";
import { Image } from "./image.js";
import { part } from "./multipart.js";
import { isReadable, read } from "./pixels.js";
import { ServerError, get } from "./server.js";

const EXPLICIT_LITTLE = "1.2.840.10008.1.2.1";
const BASELINE_JPEG = "1.2.840.10008.1.2.4.50";
const NATIVE = [
  `multipart/related; type="application/octet-stream"; transfer-syntax=${EXPLICIT_LITTLE}`,
  `multipart/related; type="image/jpeg"; transfer-syntax=${BASELINE_JPEG}`,
].join(", ");

// Series whose frames the vault gives out neither way, which the first answer told.
const onlyRendered = new Set();

export class Frame {
  // `root` is the instance's address.
  constructor(root, set, number) {
    this.root = root;
    this.series = root.split("/instances/")[0];
    this.number = number;
    this.key = `${root}/frames/${number}`;
    this.set = set;
    this.described = null;
    this.rendered = false;
  }

  get image() {
    this.described ??= new Image(this.set, this.number);
    return this.described;
  }

  get instanceNumber() {
    return text(this.set, "00200013");
  }

  // Gives { raw }, { rgba } or { bitmap }, and how many bytes that holds.
  async load(signal, waiting, view) {
    const { image } = this;
    if (!this.rendered && !onlyRendered.has(this.series) && isReadable(image)) {
      try {
        return await this.native(image, signal, waiting);
      } catch (error) {
        const other = error instanceof ServerError && (error.status === 406 || error.status === 415);
        if (!other) throw error;
        onlyRendered.add(this.series);
      }
    }
    this.rendered = true;
    return this.asRendered(image, signal, waiting, view);
  }

  async native(image, signal, waiting) {
    const { type, bytes } = await get(this.key, { accept: NATIVE, signal, waiting, read: part });
    if (/^image\/jpeg/i.test(type)) {
      if (image.photometric === "RGB" || image.allocated !== 8) throw new ServerError(406, "jpeg", "Not for the browser to decode.", "");
      return this.jpeg(bytes, image);
    }
    const syntax = /transfer-syntax="?([0-9.]+)/i.exec(type)?.[1] ?? EXPLICIT_LITTLE;
    const pixels = read(bytes, image, syntax);
    return { ...pixels, bytes: (pixels.raw ?? pixels.rgba).byteLength };
  }

  async jpeg(bytes, image) {
    const options = { colorSpaceConversion: "none", imageOrientation: "none", premultiplyAlpha: "none" };
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }), options);
    if (bitmap.width !== image.columns || bitmap.height !== image.rows) throw new Error("The image is not as large as its header says.");
    if (!image.isMono) return { bitmap, bytes: bitmap.width * bitmap.height * 4 };
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    const raw = new Uint8Array(data.length / 4);
    for (let at = 0; at < raw.length; at += 1) raw[at] = data[at * 4];
    return { raw, bytes: raw.length };
  }

  async asRendered(image, signal, waiting, view) {
    const window = image.isMono && view?.width > 0 ? `?window=${view.center},${view.width},linear` : "";
    const accept = image.isMono ? "image/png" : "image/jpeg";
    const blob = await get(`${this.key}/rendered${window}`, { accept, signal, waiting, read: (answer) => answer.blob() });
    const bitmap = await createImageBitmap(blob);
    return { bitmap, windowed: window !== "", bytes: bitmap.width * bitmap.height * 4 };
  }
}
