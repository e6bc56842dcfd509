// Encrypts messages as JWE in compact serialization: a line of JSON in, a line out. `key` is a public JWK, `header` the
// protected header, `plaintext` base64.
import { createInterface } from "node:readline";
import { CompactEncrypt, importJWK, base64url } from "jose";

for await (const line of createInterface({ input: process.stdin })) {
  const { key, header, plaintext } = JSON.parse(line);
  const { apu, apv, ...rest } = header;
  const encrypt = new CompactEncrypt(Buffer.from(plaintext, "base64")).setProtectedHeader(rest);
  if (apu) encrypt.setKeyManagementParameters({ apu: base64url.decode(apu), apv: base64url.decode(apv) });
  console.log(await encrypt.encrypt(await importJWK(key, rest.alg)));
}
