"""AWS Secrets Manager as moto plays it, on a free port of 127.0.0.1, with signatures verified.

Prints one line of JSON: address, access_key, secret_key. Each line of JSON on standard input ({"name", "text"}) replaces a
secret. Ends with its standard input.
"""

import json
import sys
import urllib.request

import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
address = f"http://{host}:{port}"


def client(service, key="testing", secret="testing"):
    return boto3.client(
        service,
        endpoint_url=address,
        region_name="eu-central-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "secretsmanager:*", "Resource": "*"}]}

iam = client("iam")
iam.create_user(UserName="gateway")
iam.put_user_policy(UserName="gateway", PolicyName="secrets", PolicyDocument=json.dumps(POLICY))
key = iam.create_access_key(UserName="gateway")["AccessKey"]
# from here on, what is not signed with this key is refused
request = urllib.request.Request(f"{address}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
urllib.request.urlopen(request).close()
secrets = client("secretsmanager", key["AccessKeyId"], key["SecretAccessKey"])
secrets.create_secret(Name="gateway/issuer", SecretString=json.dumps({"client": "first-secret"}))
print(
    json.dumps({"address": address, "access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}),
    flush=True,
)
for line in sys.stdin:
    change = json.loads(line)
    secrets.put_secret_value(SecretId=change["name"], SecretString=change["text"])
server.stop()
