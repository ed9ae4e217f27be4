// What is no picture: reports as text, documents to open, the rest by name.

import { date, text } from "./dicom.js";
import { element } from "./dom.js";
import { part } from "./multipart.js";
import { report } from "./report.js";
import { get } from "./server.js";

const PDF = "application/pdf";

async function bytesOf(set, root) {
  const bulk = set["00420011"]?.BulkDataURI;
  try {
    return (await get(`${root}/rendered`, { accept: PDF, read: part })).bytes;
  } catch (error) {
    if (!bulk || error.status === 401) throw error;
    const address = new URL(bulk, `${location.origin}${root}/`);
    const accept = `multipart/related; type="${PDF}", multipart/related; type="application/octet-stream"`;
    return (await get(address.pathname + address.search, { accept, read: part })).bytes;
  }
}

function opener(set, root) {
  const told = element("p", { role: "status" });
  const button = element("button", { class: "tool", type: "button" }, "Open the document");
  button.addEventListener("click", async () => {
    button.disabled = true;
    told.textContent = "Loading…";
    try {
      const file = new Blob([await bytesOf(set, root)], { type: PDF });
      const address = URL.createObjectURL(file);
      const open = element("a", { class: "tool", href: address, target: "_blank", rel: "noopener" }, "Open again");
      const save = element("a", { class: "tool", href: address, download: "document.pdf" }, "Save");
      button.replaceWith(open, " ", save);
      told.textContent = "";
      open.click();
    } catch (error) {
      told.textContent = error.message;
      button.disabled = false;
    }
  });
  const title = text(set, "00420010") || text(set, "0008103E") || "Document";
  return element("article", {}, element("h2", {}, title), element("p", {}, date(set, "00080023")), button, told);
}

// What stands there for objects without pictures; nothing if there are none. `root` is the series' address.
export function paper(others, root) {
  if (!others.length) return null;
  const box = element("div");
  for (const set of others) {
    const at = `${root}/instances/${text(set, "00080018")}`;
    if (set["0040A730"]) box.append(report(set));
    else if (text(set, "00420012") === PDF) box.append(opener(set, at));
    else {
      const kind = text(set, "00080060") || "object";
      box.append(element("article", {}, element("h2", {}, text(set, "0008103E") || kind), element("p", {}, `This ${kind} has no picture. The vault keeps it as it was sent.`)));
    }
  }
  return box;
}
