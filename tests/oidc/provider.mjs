// An OpenID provider on loopback, for tests: people by name, who is signed in without a word; and a browser that carries a sign-in
// from the vault's address to its way back.
// Argument: the folder that holds node_modules. Says its issuer on standard output and goes when standard input ends.

import { createServer } from "node:http";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const module = join(process.argv[2], "node_modules/oidc-provider/lib/index.js");
const { default: Provider } = await import(pathToFileURL(module));

const people = {
  erika: { name: "Erika Muster", preferred_username: "erika", groups: ["staff", "clinicians"], amr: ["pwd"] },
  max: { name: "Max Muster", preferred_username: "max", groups: ["staff"], amr: ["pwd", "otp"] },
  boss: { name: "Bea Boss", preferred_username: "boss", groups: ["admins"], amr: ["pwd", "otp"] },
};
let who = "erika";

const server = createServer();
server.listen(0, "127.0.0.1", () => start(`http://127.0.0.1:${server.address().port}`));
// Nobody reads on after the issuer.
process.stdout.on("error", () => {});
process.stdin.on("end", () => process.exit(0)).resume();

function start(issuer) {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: "leadglass", client_secret: "not-a-secret-of-anybody", redirect_uris: ["https://vault.invalid/provider"],
      grant_types: ["authorization_code"], response_types: ["code"],
    }],
    claims: { openid: ["sub", "amr", "groups"], profile: ["name", "preferred_username"] },
    conformIdTokenClaims: false,
    cookies: { keys: ["for-tests-only"] },
    features: { devInteractions: { enabled: false } },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    loadExistingGrant: async (context) => {
      const { client, session } = context.oidc;
      const grant = new context.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope("openid profile");
      await grant.save();
      return grant;
    },
    pkce: { required: () => true },
  });
  // The vault's port is not known before it runs.
  provider.Client.prototype.redirectUriAllowed = (address) => new URL(address).pathname === "/provider";
  const answer = provider.callback();
  server.on("request", async (request, response) => {
    try {
      if (request.url.startsWith("/interaction/")) {
        await provider.interactionFinished(request, response, { login: { accountId: who, amr: people[who].amr } });
      } else if (request.url === "/test/person") {
        const { name, change } = await body(request);
        who = name;
        Object.assign(people[name], change ?? {});
        response.end("{}");
      } else if (request.url === "/test/carry") {
        response.end(JSON.stringify({ back: await carry((await body(request)).address) }));
      } else answer(request, response);
    } catch (error) {
      response.statusCode = 500;
      response.end(String(error));
    }
  });
  process.stdout.write(`${issuer}\n`);
}

async function body(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces));
}

// What a browser does from the vault's redirect to the way back: it follows and keeps cookies.
async function carry(address) {
  const jar = new Map();
  for (let step = 0; step < 10; step += 1) {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const answer = await fetch(address, { redirect: "manual", headers: cookie ? { cookie } : {} });
    for (const set of answer.headers.getSetCookie()) {
      const [name, value] = set.split(";")[0].split(/=(.*)/s);
      jar.set(name, value);
    }
    const next = answer.headers.get("location");
    if (!next) throw new Error(`${answer.status} ${await answer.text()}`);
    address = new URL(next, address).href;
    if (address.startsWith("https://")) return address;
  }
  throw new Error("it goes round in circles");
}
