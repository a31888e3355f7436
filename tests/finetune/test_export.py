"""Handing an adapter on: copied whole, merged by the algebra, pushed and then looked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from trainings import tiny_model, tiny_recipe

from affectgpt.engines import adapter, models
from affectgpt.engines.engine import EngineOptions
from affectgpt.engines.local import LocalEngine
from affectgpt.errors import EngineError, EngineUnreachable, ModelError, OptionError
from affectgpt.records import Message, Prompt, Sampling
from finetune import pushing
from finetune.exporting import export, merge
from finetune.loading import load_base, lora_config, quiet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter folder beside its base `llama`, with updates that are not zero."""
    import torch
    from peft import get_peft_model

    tmp = tmp_path_factory.mktemp("sealed")
    base = tiny_model(tmp / "llama")
    recipe = tiny_recipe(tmp)
    with quiet():
        model = get_peft_model(load_base(recipe, base, "cpu"), lora_config(recipe))
    torch.manual_seed(1)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data.normal_(std=0.05)
    folder = tmp / "adapter"
    model.save_pretrained(folder)
    config = json.loads((folder / adapter.CONFIG).read_text("utf-8")) | {"base_model_name_or_path": None}
    (folder / adapter.CONFIG).write_text(json.dumps(config), "utf-8")
    adapter.write_manifest(folder, "tiny", "llama", base, {"note": "kept"})
    (folder / "optimizer.pt").write_bytes(b"left over")
    return folder


def test_an_export_holds_what_is_sealed_and_nothing_else(sealed: Path, tmp_path: Path) -> None:
    made = export(sealed, tmp_path / "new" / "place")
    there = {p.name for p in made.iterdir()}
    assert there == {"manifest.json", "adapter_config.json", "adapter_model.safetensors", "README.md"}
    assert adapter.read_manifest(made) == adapter.read_manifest(sealed)
    with pytest.raises(OptionError, match="there already"):
        export(sealed, made)


def test_a_damaged_adapter_is_handed_on_by_nobody(sealed: Path, tmp_path: Path) -> None:
    copy = export(sealed, tmp_path / "copy")
    weights = copy / adapter.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    for hand_on in (lambda: export(copy, tmp_path / "x"), lambda: merge(copy, tmp_path / "x", "any"),
                    lambda: pushing.push(copy, "http://127.0.0.1:9")):  # fmt: skip
        with pytest.raises(ModelError, match="not what its manifest seals"):
            hand_on()
    assert not (tmp_path / "x").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]


def test_an_export_in_bfloat16_holds_the_rounded_weights_and_is_sealed_over_them(sealed: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    made = export(sealed, tmp_path / "small", "bfloat16")
    whole, small = load_file(sealed / adapter.WEIGHTS), load_file(made / adapter.WEIGHTS)
    assert {k: v.shape for k, v in small.items()} == {k: v.shape for k, v in whole.items()}
    assert all(torch.equal(small[k], whole[k].to(torch.bfloat16)) for k in whole)
    assert any(not torch.equal(small[k].float(), whole[k]) for k in whole)
    assert (made / adapter.WEIGHTS).stat().st_size < 0.6 * (sealed / adapter.WEIGHTS).stat().st_size
    old, new = adapter.read_manifest(sealed), adapter.read_manifest(made)
    assert (new.id, new.base_model, new.base_config_sha256) == (old.id, old.base_model, old.base_config_sha256)
    assert new.notes == {"note": "kept", "rounded": {"dtype": "bfloat16", "from_sha256": old.weights_sha256}}
    asked = [Prompt((Message("user", "hello"),), "p", "1")]
    (said,) = LocalEngine(EngineOptions(), str(sealed.parent / "llama"), str(made)).generate(
        asked, Sampling(max_tokens=4)
    )
    assert "+tiny" in said.model


def test_an_export_that_cannot_hold_the_weights_is_refused(sealed: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(OptionError, match="bfloat16, float16, float32"):
        export(sealed, tmp_path / "x", "int3")
    huge = export(sealed, tmp_path / "huge")
    weights = {k: v * 1e6 for k, v in load_file(huge / adapter.WEIGHTS).items()}
    save_file(weights, huge / adapter.WEIGHTS, metadata={"format": "pt"})
    adapter.write_manifest(huge, "huge", "llama", sealed.parent / "llama", {})
    with pytest.raises(ModelError, match="beyond float16"):
        export(huge, tmp_path / "y", "float16")
    assert not (tmp_path / "y").exists()


def test_a_merged_model_answers_as_base_and_adapter_do(sealed: Path, tmp_path: Path) -> None:
    base = sealed.parent / "llama"
    with pytest.raises(OptionError, match="name it with --model"):
        merge(sealed, tmp_path / "merged")
    made = merge(sealed, tmp_path / "merged", str(base))
    asked = [Prompt((Message("user", text),), "p", "1") for text in ("hello", "how are you?")]
    options, sampling = EngineOptions(dtype="float32"), Sampling(max_tokens=12)
    apart = LocalEngine(options, str(base), str(sealed)).generate(asked, sampling)
    whole = LocalEngine(options, str(made), "none").generate(asked, sampling)
    plain = LocalEngine(options, str(base), "none").generate(asked, sampling)
    assert [c.text for c in whole] == [c.text for c in apart]
    assert [c.text for c in whole] != [c.text for c in plain]
    assert json.loads((made / "affectgpt.json").read_text("utf-8"))["merged"] == "tiny"
    assert (made / "model.safetensors").stat().st_mode & 0o044 == 0o044
    weights = models.load_model(made)
    assert {str(p.dtype) for p in weights.parameters()} == {"torch.float32"}


def test_another_base_is_refused(sealed: Path, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "llama", "qwen2")
    with pytest.raises(ModelError, match="does not fit"):
        merge(sealed, tmp_path / "merged", str(other))
    assert not (tmp_path / "merged").exists()


# ---------------------------------------------------------------- push


@dataclass
class FakeVllm:
    """What vLLM answers at the two routes; `lies` says 200 and loads nothing, as it has done for missing paths."""

    lies: bool = False
    refuses: bool = False
    html: bool = False
    key: str | None = None
    loaded: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""

    def get(self) -> tuple[int, str]:
        if self.html:
            return 200, "<html>"
        return 200, json.dumps({"data": [{"id": name} for name in ("base", *self.loaded)]})

    def post(self, route: str, body: dict[str, Any]) -> tuple[int, str]:
        self.asked.append((route, body))
        if self.refuses:
            return 400, '{"error": "rank 64 exceeds max_lora_rank"}'
        if route.endswith("unload_lora_adapter"):
            self.loaded.pop(body["lora_name"], None)
        elif not self.lies:
            self.loaded[body["lora_name"]] = body["lora_path"]
        return 200, "Success"


@pytest.fixture
def server() -> Iterator[FakeVllm]:
    fake = FakeVllm()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, code: int, text: str) -> None:
            if fake.key and self.headers.get("Authorization") != f"Bearer {fake.key}":
                code, text = 401, "who are you?"
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.answer(*(fake.get() if self.path == "/v1/models" else (404, "no such route")))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(*fake.post(self.path, body))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        fake.url = f"http://127.0.0.1:{http.server_address[1]}"
        yield fake
        http.shutdown()


def test_an_adapter_is_pushed_and_seen(sealed: Path, server: FakeVllm) -> None:
    assert pushing.push(sealed, server.url + "/v1/") == "tiny"
    assert server.loaded == {"tiny": str(sealed.resolve())}
    assert pushing.push(sealed, server.url, name="other") == "other"
    assert set(server.loaded) == {"tiny", "other"}


def test_pushing_again_replaces_the_older_one(sealed: Path, server: FakeVllm) -> None:
    server.loaded["tiny"] = "an older folder"
    pushing.push(sealed, server.url)
    assert [route for route, _ in server.asked] == ["/v1/unload_lora_adapter", "/v1/load_lora_adapter"]
    assert server.loaded["tiny"] == str(sealed.resolve())


def test_a_server_that_says_yes_and_loads_nothing_is_found_out(sealed: Path, server: FakeVllm) -> None:
    server.lies = True
    with pytest.raises(EngineError, match="does not list it in /v1/models"):
        pushing.push(sealed, server.url, timeout_s=0.5)


def test_a_refusal_carries_the_servers_words(sealed: Path, server: FakeVllm) -> None:
    server.refuses = True
    with pytest.raises(EngineError, match=r"answered 400: .*max_lora_rank.*VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        pushing.push(sealed, server.url)


def test_the_key_is_sent_and_never_shown(sealed: Path, server: FakeVllm) -> None:
    server.key = "secret-key"
    assert pushing.push(sealed, server.url, api_key="secret-key") == "tiny"
    with pytest.raises(EngineError, match="answered 401") as caught:
        pushing.push(sealed, server.url, api_key="wrong-key")
    assert "wrong-key" not in str(caught.value)


def test_what_is_no_server_is_named(sealed: Path, server: FakeVllm) -> None:
    server.html = True
    with pytest.raises(EngineError, match="no list of models"):
        pushing.push(sealed, server.url)
    with pytest.raises(EngineUnreachable, match="nothing answers"):
        pushing.push(sealed, "http://127.0.0.1:9", timeout_s=2)
    for url in ("ftp://x", "file:///etc/passwd", "127.0.0.1:8000", "http://user:pass@host"):
        with pytest.raises(OptionError, match="no server's URL") as caught:
            pushing.push(sealed, url)
        assert "pass@" not in str(caught.value)
