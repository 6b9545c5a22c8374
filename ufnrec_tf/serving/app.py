"""The addresses of the server: TensorFlow Serving's REST form, health, metrics, the page."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from ufnrec_tf.serving.diverse import call_model
from ufnrec_tf.serving.guard import BUG, Guard, refusal_response
from ufnrec_tf.serving.limits import Refusal
from ufnrec_tf.serving.models import MODEL_NAME, LoadedModel
from ufnrec_tf.serving.page_api import add_page
from ufnrec_tf.serving.rest import TensorInfo, answer_json, read_inputs, read_predict
from ufnrec_tf.serving.service import JSON, Service, json_response, read_body
from ufnrec_tf.serving.similar_items import add_similar
from ufnrec_tf.serving.user_ids import with_histories

_BASE = f"/v1/models/{MODEL_NAME}"
_PREDICT = f"{_BASE}:predict"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
# Source: tensorflow/core/framework/types.proto.
_TYPES = {
    **{"string": "DT_STRING", "int32": "DT_INT32", "int64": "DT_INT64", "float32": "DT_FLOAT"},
    "bool": "DT_BOOL",
}


def make_app(service: Service, *, hosts: frozenset[str]) -> Guard:
    """Returns the application.

    Args:
        service: The model, the batcher and the users.
        hosts: Names that requests may address; empty: any.
    """
    app = FastAPI(title="ufnrec-tf", docs_url=None, redoc_url=None, openapi_url=None)
    app.router.redirect_slashes = False
    predict = _add_model(app, service)
    _add_health(app, service)
    add_similar(app, service)
    add_page(app, service)

    async def refused(request: Request, error: Exception) -> Response:
        return refusal_response(error if isinstance(error, Refusal) else BUG)

    async def not_found(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        message = {404: "no such address.", 405: "this address takes another method."}
        return json_response({"error": message.get(status, "bad request.")}, status)

    async def invalid(request: Request, error: Exception) -> Response:
        details = error.errors() if isinstance(error, RequestValidationError) else []
        faults = "; ".join(f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in details)
        return json_response({"error": faults or "bad request."}, 400)

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(Exception, refused)  # and raised again, for the guard's log
    app.add_exception_handler(HTTPException, not_found)
    app.add_exception_handler(RequestValidationError, invalid)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        """Answers :predict, which may be asked thousands of times a second, without FastAPI."""
        if scope["type"] == "http" and (scope["method"], scope["path"]) == ("POST", _PREDICT):
            response = await predict(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await app(scope, receive, send)

    return Guard(
        application,
        limits=service.limits,
        metrics=service.metrics,
        hosts=hosts,
        log_line=service.log_line,
    )


def _add_model(app: FastAPI, service: Service) -> Callable[[Request], Awaitable[Response]]:
    """Adds the addresses of TensorFlow Serving under /v1/models/NAME; returns that of :predict."""

    def in_force(request: Request) -> LoadedModel:
        model = service.keeper.current
        number = request.path_params.get("version", "")
        if number and (not re.fullmatch("[0-9]{1,18}", number) or int(number) != model.version):
            raise Refusal(404, f"this version is not served; version {model.version} is.")
        return model

    async def predict(request: Request) -> Response:
        model = in_force(request)
        body = read_predict(await read_body(request, service.limits))
        body = with_histories(body, service.users, service.limits)
        signature = model.signature(body.signature)
        inputs = read_inputs(body, signature.inputs, service.limits)
        outputs = await call_model(service, model, signature, inputs, body.diversity)
        marks = model.marks(inputs.rows)
        answer = answer_json(outputs, is_columns=body.is_columns, beside=marks)
        return Response(answer, media_type=JSON)

    async def status(request: Request) -> Response:
        version = str(in_force(request).version)
        state = {"error_code": "OK", "error_message": ""}
        return json_response(
            {"model_version_status": [{"version": version, "state": "AVAILABLE", "status": state}]}
        )

    async def metadata(request: Request) -> Response:
        return json_response(_metadata(in_force(request)))

    for address in (_BASE, f"{_BASE}/versions/{{version}}"):
        app.add_route(f"{address}:predict", predict, methods=["POST"])
        app.add_route(f"{address}/metadata", metadata, methods=["GET"])
        app.add_route(address, status, methods=["GET"])
    return predict


def _metadata(model: LoadedModel) -> dict[str, Any]:
    """Returns the metadata of a model as TensorFlow Serving writes it: protobuf's JSON."""
    signatures = {
        signature.name: {
            "inputs": {info.name: _tensor_json(info) for info in signature.inputs},
            "outputs": {info.name: _tensor_json(info) for info in signature.outputs},
            "method_name": "tensorflow/serving/predict",
        }
        for signature in model.signatures.values()
    }
    return {
        "model_spec": {
            "name": MODEL_NAME,
            "signature_name": "",
            "version": str(model.version),
        },
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _tensor_json(info: TensorInfo) -> dict[str, Any]:
    sizes = [{"size": str(size), "name": ""} for size in info.shape]
    return {
        "dtype": _TYPES.get(info.dtype, info.dtype),
        "tensor_shape": {"dim": sizes, "unknown_rank": False},
        "name": info.name,
    }


def _add_health(app: FastAPI, service: Service) -> None:
    """Adds the addresses for a supervisor and for Prometheus."""

    @app.get("/healthz")
    async def healthz() -> Response:
        return json_response({"status": "alive"})

    @app.get("/readyz")
    async def readyz() -> Response:
        if service.is_stopping() or not service.batcher.is_alive:
            raise Refusal(503, "the server is stopping.", retry_after=1)
        return json_response({"status": "ready", "version": service.keeper.current.version})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"content-type": _PROMETHEUS})
