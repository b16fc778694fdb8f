"""A port in a process of its own, told what to do by lines of JSON.

Arguments: DATA HTTPS_PORT HTTP_PORT S3_PORT [ACME].
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import uvloop
from obstore.store import LocalStore

import bucketlog
from homeport import controller, machine
from homeport.acme import Acme
from homeport.controller import Port
from homeport.model import Entrance, HealthCheck, Scaling, Service, ServiceSpec
from homeport.mounts import Mounts, parse_tmpfs, parse_volumes
from homeport.redirects import Redirect, Source
from ocikit.registry import Storage

controller._INSPECTION = 0.5
machine._DISK = 64  # MiB: less to write


async def main() -> None:
    data = Path(sys.argv[1])
    https_port, http_port, s3_port = (int(text) for text in sys.argv[2:5])
    database = bucketlog.connect(f"file://{data}/db")
    port = Port(
        data,
        database=database,
        images=Storage(LocalStore(data / "registry", mkdir=True)),
        registry_hosts=("127.0.0.1:5000",),
        https_port=https_port,
        http_port=http_port,
        s3_port=s3_port,
        environment=environment,
        issuer=Acme(sys.argv[5], data / "acme") if len(sys.argv) > 5 else None,
    )
    await port.start()
    answer({"bridge": port.bridge_address})
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        call = request.pop("call")
        try:
            result = await do(port, call, request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
            print(json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)
            continue
        answer(result)
        if call == "stop":
            break
    database.close()


async def do(port: Port, call: str, arguments: dict[str, Any]) -> object:
    if "spec" in arguments:
        spec = arguments["spec"]
        health = HealthCheck(**spec.pop("health", {}))
        scaling = Scaling(**spec.pop("scaling", {}))
        mounts = Mounts(
            spec.pop("read_only", False),
            parse_tmpfs(text) if (text := spec.pop("tmpfs", "")) else (),
            parse_volumes(text) if (text := spec.pop("volumes", "")) else (),
        )
        entrance = Entrance(**spec.pop("entrance", {}))
        arguments["spec"] = ServiceSpec(
            **spec, health=health, scaling=scaling, mounts=mounts, entrance=entrance
        )
    if call == "add_redirect":
        await port.ingress.add_redirect(Redirect(Source.parse(arguments["source"]), arguments["target"]))
        return None
    if call == "remove_redirect":
        return str(await port.ingress.remove_redirect(Source.parse(arguments["source"])))
    result = getattr(port, call)(**arguments)
    if asyncio.iscoroutine(result):
        result = await result
    if isinstance(result, tuple):
        return {"service": result[0], "operation": result[1]}
    return result


def environment(service: Service) -> Mapping[str, str]:
    return {"AWS_ACCESS_KEY_ID": f"key-of-{service.spec.name}"}


def answer(result: object) -> None:
    print(json.dumps({"result": result}, default=plain), flush=True)


def plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    assert dataclasses.is_dataclass(value)
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


uvloop.run(main())
