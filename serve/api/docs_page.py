"""The API's page: the OpenAPI document as plain HTML, with no script and nothing fetched from elsewhere.

FastAPI's own pages load a viewer from a public network, which would tell it who reads them.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Any

__all__ = ["docs_page"]

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { max-width: 54rem; margin: 0 auto; padding: 1.5rem }
h2 { margin-top: 2.5rem; font-size: 1.1rem } code, pre { font-family: ui-monospace, monospace; font-size: .9rem }
pre { overflow-x: auto; padding: .8rem; border: 1px solid #8886; border-radius: .4rem }
.method { font-weight: 700 } table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0; vertical-align: top }
"""


def docs_page(document: dict[str, Any]) -> str:
    """HTML for an OpenAPI 3 document: each route with what it says, its fields and its examples."""
    info = document["info"]
    parts = [f"<p>{html.escape(p)}</p>" for p in info.get("description", "").split("\n\n") if p.strip()]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts += _route(path, method, route)
    title = html.escape(f"{info['title']} {info['version']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}: the API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main><h1>{title}</h1>'
        f'{"".join(parts)}<p>As a document: <a href="openapi.json">openapi.json</a></p></main></body></html>'
    )


def _route(path: str, method: str, route: dict[str, Any]) -> Iterator[str]:
    yield f'<h2><span class="method">{html.escape(method.upper())}</span> <code>{html.escape(path)}</code></h2>'
    yield f"<p><strong>{html.escape(route.get('summary', ''))}</strong></p>"
    if told := route.get("description"):
        yield f"<p>{html.escape(told)}</p>"
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Send <code>{html.escape(kind)}</code></p>"
        yield from _fields(content.get("schema", {}))
        yield from _examples(content)
    for status, response in route.get("responses", {}).items():
        for kind, content in response.get("content", {}).items():
            if "example" in content:
                yield f"<p>Answers {html.escape(status)} <code>{html.escape(kind)}</code></p>"
                yield from _examples(content)


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    if rows := schema.get("properties"):
        yield "<table>"
        for name, field in rows.items():
            kind = field.get("type") or " or ".join(map(str, field.get("enum", ())))
            told = field.get("description", "")
            yield f"<tr><td><code>{html.escape(name)}</code></td><td>{html.escape(kind)}</td>"
            yield f"<td>{html.escape(told)}</td></tr>"
        yield "</table>"


def _examples(content: dict[str, Any]) -> Iterator[str]:
    shown = {name: row["value"] for name, row in content.get("examples", {}).items()}
    if "example" in content:
        shown[""] = content["example"]
    for name, value in shown.items():
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        yield (f"<p>{html.escape(name)}</p>" if name else "") + f"<pre>{html.escape(text)}</pre>"
