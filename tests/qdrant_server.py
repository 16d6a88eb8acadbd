"""A Qdrant server for the tests: those of its REST calls that the course makes, on this machine only.

Requests are read by the client's own models of the API, and answered by Qdrant's own engine
(`qdrant-edge-py`), so what is stored, filtered and scored is Qdrant's doing. What a server adds, such as
processes beside one another, shards and copies, is not here: `QDRANT_URL` names a real one.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import qdrant_edge as edge
from pydantic import TypeAdapter
from qdrant_client import models

DISTANCES = {"Cosine": edge.Distance.Cosine, "Dot": edge.Distance.Dot}
KINDS = {kind.lower(): getattr(edge.PayloadSchemaType, kind) for kind in ("Keyword", "Datetime", "Text")}
LARGEST = 32 * 2**20  # bytes of a request: a server's default


class Server:
    """Serves collections below `folder` at `url` until `close`.

    Attributes:
        key: that a request must bring, if any.
        delay: seconds before each answer.
        requests: (method, path, bytes) of what was asked.
    """

    def __init__(self, folder: Path, key: str | None = None, delay: float = 0.0) -> None:
        self.folder, self.key, self.delay = folder, key, delay
        self.collections: dict[str, tuple[edge.EdgeShard, models.CreateCollection]] = {}
        self.requests: list[tuple[str, str, int]] = []
        self._lock = threading.RLock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        for shard, _ in self.collections.values():
            shard.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_) -> None:
                pass

            def answer(self, code: int, body: dict) -> None:
                sent = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def handle_request(self) -> None:
                size, path = int(self.headers.get("Content-Length") or 0), self.path.split("?")[0]
                read = self.rfile.read(size)
                server.requests.append((self.command, path, size))
                time.sleep(server.delay)
                if server.key and self.headers.get("api-key") != server.key:
                    return self.answer(401, {"status": {"error": "Must provide an API key"}, "time": 0})
                if size > LARGEST:
                    return self.answer(413, {"status": {"error": "Payload too large"}, "time": 0})
                try:
                    with server._lock:
                        result = server.do(self.command, path, json.loads(read) if size else {})
                except Exception as error:
                    said = f"{type(error).__name__}: {error}"
                    return self.answer(400, {"status": {"error": said}, "time": 0})
                return self.answer(200, {"result": result, "status": "ok", "time": 0.0})

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_request

        return Handler

    def do(self, method: str, path: str, body: dict):
        """The result of one request."""

        def read(kind):
            return TypeAdapter(kind).validate_python(body)

        done = {"operation_id": 0, "status": "completed"}
        if path == "/collections":
            return {"collections": [{"name": name} for name in self.collections]}
        name, call = re.fullmatch(r"/collections/([^/]+)(/.*)?", path).groups()
        asked = (method, call or "")
        if asked == ("GET", "/exists"):
            return {"exists": name in self.collections}
        if asked == ("PUT", ""):
            told = read(models.CreateCollection)
            folder = self.folder / name
            folder.mkdir(parents=True)
            sizes = {key: _vector(one, told.quantization_config) for key, one in told.vectors.items()}
            often = edge.EdgeOptimizersConfig(indexing_threshold=1000)
            shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors=sizes, optimizers=often))
            self.collections[name] = shard, told
            return True
        shard, told = self.collections[name]
        if asked == ("DELETE", ""):
            shard.close()
            shutil.rmtree(self.folder / name)
            del self.collections[name]
            return True
        if asked == ("PATCH", ""):
            told.metadata = (told.metadata or {}) | (read(models.UpdateCollection).metadata or {})
            return True
        if asked == ("GET", ""):
            return json.loads(_info(shard, told).model_dump_json())
        if asked == ("PUT", "/index"):
            index = read(models.CreateFieldIndex)
            kind = KINDS[index.field_schema.value]
            shard.update(edge.UpdateOperation.create_field_index(index.field_name, kind))
            return done
        if asked == ("PUT", "/points"):
            points = read(models.PointsList).points
            shard.update(
                edge.UpdateOperation.upsert_points(
                    [edge.Point(point.id, point.vector, point.payload or {}) for point in points]
                )
            )
            return done
        if asked == ("POST", "/points/delete"):
            chosen = read(models.FilterSelector).filter
            shard.update(edge.UpdateOperation.delete_points_by_filter(_filter(chosen)))
            return done
        if asked == ("POST", "/points/count"):
            counted = edge.CountRequest(exact=True, filter=_filter(read(models.CountRequest).filter))
            return {"count": shard.count(counted)}
        if asked == ("POST", "/points/scroll"):
            wanted = read(models.ScrollRequest)
            found, offset = shard.scroll(
                edge.ScrollRequest(limit=wanted.limit, filter=_filter(wanted.filter), with_payload=True)
            )
            return {"points": [{"id": str(point.id), "payload": point.payload} for point in found],
                    "next_page_offset": offset and str(offset)}  # fmt: skip
        if asked == ("POST", "/facet"):
            wanted = read(models.FacetRequest)
            counted = edge.FacetRequest(wanted.key, wanted.limit, True, _filter(wanted.filter))
            hits = shard.facet(counted).hits
            return {"hits": [{"value": hit.value, "count": hit.count} for hit in hits]}
        if asked == ("POST", "/points/query"):
            return {"points": [_scored(point) for point in _query(shard, read(models.QueryRequest))]}
        raise NotImplementedError(asked)


def _vector(params: models.VectorParams, quantized) -> edge.EdgeVectorParams:
    several = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if params.multivector_config else None
    graph = params.hnsw_config.m if params.hnsw_config and params.hnsw_config.m is not None else 16
    bits, kept = None, params.quantization_config or quantized
    if kept is not None:
        scalar = getattr(kept, "scalar", None)
        bits = (
            edge.ScalarQuantizationConfig(edge.ScalarType.Int8) if scalar else edge.BinaryQuantizationConfig()
        )
    return edge.EdgeVectorParams(
        params.size,
        DISTANCES[params.distance.value],
        multivector_config=several,
        quantization_config=bits,
        hnsw_config=edge.HnswIndexConfig(m=graph, ef_construct=100, full_scan_threshold=10_000),
    )


def _info(shard: edge.EdgeShard, told: models.CreateCollection) -> models.CollectionInfo:
    held = shard.info()
    often = models.OptimizersConfig(
        deleted_threshold=0.2, vacuum_min_vector_number=1000, default_segment_number=0, flush_interval_sec=5
    )
    return models.CollectionInfo(
        status="green",
        optimizer_status="ok",
        points_count=held.points_count,
        segments_count=held.segments_count,
        payload_schema={},
        config=models.CollectionConfig(
            params=models.CollectionParams(vectors=told.vectors),
            hnsw_config=models.HnswConfig(m=16, ef_construct=100, full_scan_threshold=10_000),
            optimizer_config=often,
            quantization_config=told.quantization_config,
            metadata=told.metadata,
        ),
    )


def _condition(condition: models.FieldCondition) -> edge.FieldCondition:
    if condition.range is not None:
        within = {name: getattr(condition.range, name) for name in ("gte", "lte")}
        dates = edge.RangeDateTime(**{name: at and at.isoformat() for name, at in within.items()})
        return edge.FieldCondition(key=condition.key, range=dates)
    if isinstance(condition.match, models.MatchAny):
        return edge.FieldCondition(key=condition.key, match=edge.MatchAny(condition.match.any))
    return edge.FieldCondition(key=condition.key, match=edge.MatchText(condition.match.text))


def _filter(chosen: models.Filter | None) -> edge.Filter | None:
    if chosen is None:
        return None
    parts = {}
    for name in ("must", "must_not"):
        conditions = getattr(chosen, name)
        parts[name] = conditions and [_condition(one) for one in conditions]
    return edge.Filter(**parts)


def _params(params: models.SearchParams | None) -> edge.SearchParams | None:
    if params is None or params.quantization is None:
        return None
    bits = params.quantization
    return edge.SearchParams(
        quantization=edge.QuantizationSearchParams(rescore=bits.rescore, oversampling=bits.oversampling)
    )


def _nearest(query, using: str) -> edge.Query:
    vector = query.nearest if isinstance(query, models.NearestQuery) else query
    return edge.Query.Nearest(vector, using=using)


def _query(shard: edge.EdgeShard, asked: models.QueryRequest) -> list[edge.ScoredPoint]:
    shard.optimize()
    ahead = asked.prefetch or []
    return shard.query(
        edge.QueryRequest(
            limit=asked.limit,
            query=_nearest(asked.query, asked.using),
            filter=_filter(asked.filter),
            params=_params(asked.params),
            with_payload=True,
            prefetches=[
                edge.Prefetch(
                    limit=one.limit,
                    query=_nearest(one.query, one.using),
                    filter=_filter(one.filter),
                    params=_params(one.params),
                )
                for one in (ahead if isinstance(ahead, list) else [ahead])
            ],
        )
    )


def _scored(point: edge.ScoredPoint) -> dict:
    return {"id": str(point.id), "version": point.version, "score": point.score, "payload": point.payload}
