"""The credentials of an instance's role, as AWS's own SDK asks for them: inside the instance's network."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

_SDK = """
import boto3, json
session = boto3.session.Session()
given = session.get_credentials().get_frozen_credentials()
s3 = session.client("s3")
s3.put_object(Bucket="role-data", Key="a", Body=b"x")
buckets = [one["Name"] for one in s3.list_buckets()["Buckets"]]
print(json.dumps([given.access_key, session.get_credentials().method, *buckets]))
"""
_ASK = """
import sys, http.client
connection = http.client.HTTPConnection("169.254.170.2", 80, timeout=60)
connection.request(sys.argv[1], sys.argv[2])
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


def inside(serving: Any, instance: str, *command: str, **environment: str) -> str:
    """What a program says that runs in an instance's network."""
    namespace = f"/run/netns/{serving.layout.key}-{instance}"
    entered = ["nsenter", f"--net={namespace}", *command]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(entered, env=kept | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_instance_has_its_roles_credentials_and_nobody_else_can_ask_for_them(
    serving: Any, make_image: Any, eventually: Any
) -> None:
    iam = serving.aws("iam")
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "tasks.apprunner.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.create_role(RoleName="runs", AssumeRolePolicyDocument=policy)
    iam.close()
    for name in ("role", "other"):
        serving.store(make_image(VERSION=name), repository=name)
    role = {"InstanceRoleArn": "arn:aws:iam::000000000000:role/runs"}
    serving.make("role", {}, InstanceConfiguration=role)
    (instance,) = serving.containers()
    serving.make("other", {})
    (other,) = serving.containers().keys() - {instance}

    environment = serving.get("/env", "role").json()
    assert "AWS_ACCESS_KEY_ID" not in environment
    assert "AWS_ACCESS_KEY_ID" in serving.get("/env", "other").json()
    path = environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
    variables = {name: value for name, value in environment.items() if name.startswith("AWS_")}
    for _ in range(2):
        said = json.loads(inside(serving, instance, sys.executable, "-c", _SDK, **variables))
        assert said[0].startswith("ASIA")
        assert said[1:] == ["container-role", "role-data"]
        assert inside(serving, other, "ip", "route").count("169.254") == 0
        # The next homeport answers too.
        serving.kill()
        serving.start_again()
        eventually(lambda: serving.served("role") == "role")

    python = "/usr/bin/python3"
    assert inside(serving, instance, python, "-c", _ASK, "GET", "/v2/credentials/x").startswith("404 ")
    assert inside(serving, instance, python, "-c", _ASK, "POST", path).startswith("404 ")
    given = inside(serving, instance, python, "-c", _ASK, "GET", path)
    assert given.startswith("200 ")
    asked = ["nsenter", f"--net=/run/netns/{serving.layout.key}-{other}", python, "-c", _ASK, "GET", path]
    refused = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert "ConnectionRefusedError" in refused.stderr
    try:
        with socket.create_connection(("169.254.170.2", 80), 1) as elsewhere:
            elsewhere.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert b"ASIA" not in elsewhere.recv(4096)
    except OSError:
        pass  # nothing is there
    secret = json.loads(given.partition(" ")[2])["SecretAccessKey"]
    everything = subprocess.run(["ps", "-eww", "-o", "args="], capture_output=True, text=True, check=True)
    assert secret not in everything.stdout
