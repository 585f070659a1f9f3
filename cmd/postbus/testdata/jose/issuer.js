// An issuer made with jose. It serves its keys, and prints a line with their URL, then one with a token
// for each line that it reads: {"alg": …, "rotate": true} makes a new key for the algorithm first.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { SignJWT, exportJWK, generateKeyPair, calculateJwkThumbprint } from "jose";

const keys = new Map(); // by algorithm: {kid, privateKey, jwk}

async function makeKey(alg) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), use: "sig", alg };
  jwk.kid = await calculateJwkThumbprint(jwk);
  keys.set(alg, { kid: jwk.kid, privateKey, jwk });
}

for (const alg of ["RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"]) await makeKey(alg);

const server = createServer((_, answer) => {
  answer.setHeader("Content-Type", "application/jwk-set+json");
  answer.end(JSON.stringify({ keys: [...keys.values()].map((k) => k.jwk) }));
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/jwks.json`));

for await (const line of createInterface({ input: process.stdin })) {
  const { alg, rotate, sub } = JSON.parse(line);
  if (rotate) await makeKey(alg);
  const { kid, privateKey } = keys.get(alg);
  console.log(await new SignJWT({ scope: "bus", org: { id: 7 } })
    .setProtectedHeader({ alg, kid, typ: "at+jwt" })
    .setIssuer("https://jose.example").setAudience(["web", "postbus"]).setSubject(sub).setJti("1")
    .setIssuedAt().setNotBefore("0s").setExpirationTime("1h")
    .sign(privateKey));
}
server.close();
