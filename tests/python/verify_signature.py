"""Verifies RFC 9421 signatures with a library of somebody else.

Each line of JSON on standard input is a request as it arrived (method, url, headers as pairs, body in base64) with algorithm
and key (base64 for hmac-sha256, a public key in PEM otherwise). Answers each with a line of JSON: what is covered, or why not.

With "documented", it is the check of docs/proof-of-gateway.md that is run.
"""

import base64
import json
import sys
from pathlib import Path
from types import SimpleNamespace

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms

ALGORITHMS = {
    "hmac-sha256": algorithms.HMAC_SHA256,
    "ed25519": algorithms.ED25519,
    "ecdsa-p256-sha256": algorithms.ECDSA_P256_SHA256,
}


page = (Path(__file__).parents[2] / "docs/proof-of-gateway.md").read_text()
documented = {}
exec(page.split("```python\n")[1].split("```")[0], documented)


class Keys(HTTPSignatureKeyResolver):
    def __init__(self, key):
        self.key = key

    def resolve_public_key(self, key_id):
        return self.key


for line in sys.stdin:
    said = json.loads(line)
    hmac = said["algorithm"] == "hmac-sha256"
    key = base64.b64decode(said["key"]) if hmac else load_pem_public_key(said["key"].encode())
    headers = {name.lower(): value for name, value in said["headers"]}
    message = SimpleNamespace(method=said["method"], url=said["url"], headers=headers)
    verifier = HTTPMessageVerifier(signature_algorithm=ALGORITHMS[said["algorithm"]], key_resolver=Keys(key))
    try:
        if said.get("documented"):
            documented["check"](message, base64.b64decode(said["body"]), Keys(key))
            print(json.dumps({"good": True}), flush=True)
            continue
        [result] = verifier.verify(
            message,
            require_components=("@method", "@authority", "@path", "@query", "x-request-id"),
            body=base64.b64decode(said["body"]),
        )
        covered = [name.strip('"') for name in result.covered_components if name != '"@signature-params"']
        answer = {"covered": covered, "keyid": result.parameters["keyid"]}
    except Exception as why:
        answer = {"refused": f"{type(why).__name__}: {why}"}
    print(json.dumps(answer), flush=True)
