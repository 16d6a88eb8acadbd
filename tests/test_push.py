"""What arrives when notebook 04 pushes its model: weights and card, no picture and no training query.

The hub is a stand-in on this machine. It answers what `huggingface_hub` asks for on the way to a new
repository of files in Git LFS: create, check the card's header, sort files into small and large, take the
large ones, commit. Xet storage, the hub's own and faster way for large files, is switched off.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from safetensors.torch import load

from helpers.course.profiles import ROOT
from tests.conftest import NOTEBOOKS

USER, TOKEN = "reader", "hf_standin"
#: Pushes with the notebook's own cells, which clear the card first; then what the library would have pushed.
PROGRAM = """
import json
import sys
from pathlib import Path

from sentence_transformers import SentenceTransformer, SentenceTransformerModelCardData
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from helpers.course import data
from helpers.course.profiles import get_profile

clearing, sharing = json.load(sys.stdin)
folder, PUSH_TO_HUB = Path(sys.argv[1]), True
profile = get_profile("small")
rows = data.bundled(profile.max_pixels, folder / "pages").split("train", limit=4)
(folder / "queries.json").write_text(json.dumps(rows["query"][:]))
rows = rows.select_columns(["query", "image"])
args = SentenceTransformerTrainingArguments(output_dir=str(folder / "out"), report_to="none", use_cpu=True)


def about_to_train():
    model = SentenceTransformer(
        profile.path(profile.embedding_model),
        model_card_data=SentenceTransformerModelCardData(language="en", local_files_only=True),
        device="cpu",
    )
    loss = MultipleNegativesRankingLoss(model)
    SentenceTransformerTrainer(model=model, args=args, train_dataset=rows, eval_dataset=rows, loss=loss)
    return model


model = about_to_train()
exec(clearing)
exec(sharing)
about_to_train().push_to_hub("uncleared", private=True)
"""


class StandIn(BaseHTTPRequestHandler):
    """One request; what was asked and what arrived is kept in `server`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body, path = self._body(), self.path.split("?")[0]
        endpoint = f"http://{self.headers['Host']}"
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.server.created[f"{USER}/{asked['name']}"] = asked
            self._answer({"url": f"{endpoint}/{USER}/{asked['name']}"})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif re.fullmatch(r"/api/models/.+/preupload/main", path):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".png")) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                one | {"actions": {"upload": {"href": f"{endpoint}/storage/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._answer({"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            self._commit(found[1], [json.loads(line) for line in body.splitlines()])
            self._answer({"commitUrl": f"{endpoint}/{found[1]}/commit/{'1' * 40}", "commitOid": "1" * 40})
        else:
            self._answer({"error": f"the stand-in has no {path}"}, 501)

    def do_PUT(self):
        body = self._body()
        assert self.path == f"/storage/{hashlib.sha256(body).hexdigest()}"
        self.server.stored[self.path.split("/")[-1]] = body
        self._answer({})

    def do_HEAD(self):
        """No file is there yet."""
        self._answer({}, 404, {"X-Error-Code": "EntryNotFound"})

    do_GET = do_HEAD

    def log_message(self, *_):
        pass

    def _commit(self, repository, lines):
        files = self.server.files.setdefault(repository, {})
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.stored[value["oid"]]
            else:
                assert line["key"] == "header", line

    def _body(self):
        assert self.headers["Authorization"] == f"Bearer {TOKEN}" or self.path.startswith("/storage/")
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, content, status=200, headers=None):
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), "Content-Type": "application/json"}.items():
            self.send_header(name, str(value))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.created, server.stored, server.files = {}, {}, {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def cells_with(*words):
    """For each word, the source of the only cell of notebook 04 that has it."""
    file = next(file for file in NOTEBOOKS if file.stem == "04_train_embedding")
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    found = [[source for source in sources if word in source] for word in words]
    assert all(len(several) == 1 for several in found)
    return [one for (one,) in found]


def pictures(files):
    """Paths of what is a picture by its name or by its first bytes."""
    first = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8")
    ending = (".png", ".jpg", ".jpeg", ".webp", ".gif")
    return [path for path, body in files.items() if path.lower().endswith(ending) or body.startswith(first)]


def quoted(queries, files):
    """Queries that stand in any file, also as JSON or YAML writes them."""
    text = "\n".join(body.decode("utf-8", errors="replace") for body in files.values())
    return [query for query in queries if query in text or json.dumps(query)[1:-1] in text]


def test_a_push_takes_weights_and_card_and_no_page_or_query(hub, tmp_path):
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }
    shown = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        input=json.dumps(cells_with("generate_widget_examples", "push_to_hub(")),
        env={name: value for name, value in environment.items() if name != "TRANSFORMERS_OFFLINE"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert shown.returncode == 0, shown.stderr[-3000:]
    name = f"{USER}/page-retriever-small"
    assert f"/{name}/commit/{'1' * 40}" in shown.stdout
    assert hub.created[name]["visibility"] == "private"
    queries = json.loads((tmp_path / "queries.json").read_text())

    leaking = hub.files[f"{USER}/uncleared"]
    assert pictures(leaking), "else this test could not see one"
    assert quoted(queries, leaking)

    files = hub.files[name]
    assert not pictures(files)
    assert not quoted(queries, files)
    shipped = (ROOT / "data" / "checkpoints" / "small-embedding" / "model.safetensors").read_bytes()
    pushed, shipped = load(files["model.safetensors"]), load(shipped)
    assert pushed.keys() == shipped.keys()
    assert all(pushed[name].float().equal(shipped[name].float()) for name in shipped)
    assert {"modules.json", "config.json", "tokenizer.json", "1_Pooling/config.json"} <= set(files)
    card = files["README.md"].decode()
    assert card.startswith("---\n") and "# " in card and f'SentenceTransformer("{name}")' in card
    assert str(ROOT) not in card
