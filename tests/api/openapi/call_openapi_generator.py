"""Calls every method that OpenAPI Generator has generated. Runs beside what it made."""

from __future__ import annotations

import json
import sys

import flow_client

address, operations = sys.argv[1], json.load(sys.stdin)
client = flow_client.ApiClient(flow_client.Configuration(host=address))
groups = [getattr(flow_client, name)(client) for name in dir(flow_client) if name.endswith("Api")]
for name, operation in operations.items():
    [group] = [group for group in groups if hasattr(group, name)]
    arguments = dict(operation["arguments"])
    if operation["body"] is not None:
        kind = "".join(word.capitalize() for word in name.split("_")) + "Request"
        body = getattr(flow_client, kind).from_dict(operation["body"])
        arguments[f"{name}_request"] = body
    if operation["stream"]:
        sent = getattr(group, f"{name}_without_preload_content")(**arguments)
        status, read = sent.status, sent.read(5).decode()
        sent.close()
    else:
        try:
            sent = getattr(group, f"{name}_with_http_info")(**arguments)
            status, read = sent.status_code, type(sent.data).__name__
        except flow_client.ApiException as refusal:
            status, read = refusal.status, type(refusal.data).__name__
    print(json.dumps({"id": name, "status": status, "read": read != "NoneType" and read}))
