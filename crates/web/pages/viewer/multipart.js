// The one part of a multipart/related answer (RFC 2387), without copying its body.

const encoder = new TextEncoder();

function find(bytes, wanted, from) {
  const first = wanted[0];
  for (let at = bytes.indexOf(first, from); at !== -1; at = bytes.indexOf(first, at + 1)) {
    let same = 1;
    while (same < wanted.length && bytes[at + same] === wanted[same]) same += 1;
    if (same === wanted.length) return at;
  }
  return -1;
}

// Gives { type, bytes } of a whole answer, multipart or not.
export async function part(answer) {
  const type = answer.headers.get("content-type") || "";
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if (!/^multipart\//i.test(type)) return { type, bytes };
  const boundary = /boundary="?([^";]+)"?/i.exec(type)?.[1];
  const end = find(bytes, encoder.encode("\r\n\r\n"), 0);
  if (!boundary || end === -1) throw new Error("The answer's parts cannot be told apart.");
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, end));
  const field = (name) => new RegExp(`^${name}:[ \\t]*(.*)$`, "im").exec(head)?.[1].trim() ?? "";
  const start = end + 4;
  const told = Number.parseInt(field("content-length"), 10);
  let stop = start + told;
  if (!Number.isInteger(told) || stop > bytes.length) {
    // The closing delimiter stands at the very end.
    const closing = encoder.encode(`\r\n--${boundary}`);
    stop = find(bytes, closing, Math.max(start, bytes.length - closing.length - 64));
    if (stop === -1) throw new Error("The answer broke off.");
  }
  return { type: field("content-type"), bytes: bytes.subarray(start, stop) };
}
