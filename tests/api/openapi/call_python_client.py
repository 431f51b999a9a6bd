"""Calls every function that openapi-python-client has generated. Runs beside what it made."""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import pkgutil
import sys

import httpx
from flow_client import Client, api

address, operations = sys.argv[1], json.load(sys.stdin)
client = Client(base_url=address, timeout=httpx.Timeout(60))
for _, path, package in pkgutil.walk_packages(api.__path__, "flow_client.api."):
    name = path.rpartition(".")[2]
    if package:
        continue
    module, operation = importlib.import_module(path), operations[name]
    arguments = dict(operation["arguments"])
    parameters = inspect.signature(module.sync_detailed).parameters
    for argument, value in arguments.items():
        kind = parameters[argument].annotation
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            arguments[argument] = kind(value)
    if operation["body"] is not None:
        arguments["body"] = parameters["body"].annotation.from_dict(operation["body"])
    if operation["stream"]:
        # The generated function reads to the end, which a stream does not have.
        request = module._get_kwargs(**arguments)
        with client.get_httpx_client().stream(**request) as sent:
            line = next(sent.iter_lines())
            print(json.dumps({"id": name, "status": sent.status_code, "read": line}), flush=True)
        continue
    sent = module.sync_detailed(client=client, **arguments)
    read = sent.parsed is not None and type(sent.parsed).__name__
    print(json.dumps({"id": name, "status": sent.status_code, "read": read}), flush=True)
