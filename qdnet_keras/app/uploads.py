"""How photographs come to the page: sent by its visitors, each into a folder of their own.

Gradio alone would keep equal files of two visitors in one place, from where the page of the first
takes them away, and would fetch what a request names by an address.
"""

import shutil
from typing import NoReturn

import gradio
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from gradio import processing_utils
from gradio.route_utils import API_PREFIX, upload_fn
from gradio.routes import file_upload_statuses
from starlette.formparsers import MultiPartException

from qdnet_keras.app.visitors import CLOSED, Visitors


def add_uploads(site: FastAPI, visitors: Visitors, max_bytes: int) -> None:
    """Puts what is sent into `Visitors.new_upload`, in the place of Gradio's own route."""

    @site.post(f"{API_PREFIX}/upload")
    async def upload(request: Request, upload_id: str | None = None) -> Response:
        folder = visitors.new_upload(request.cookies)
        if folder is None:
            return PlainTextResponse(CLOSED, 403)
        try:
            files, *_ = await upload_fn(
                request, folder, max_bytes, upload_id, upload_progress=file_upload_statuses
            )
        except MultiPartException as error:
            shutil.rmtree(folder)
            too_large = "maximum allowed size" in error.message
            return PlainTextResponse(error.message, 413 if too_large else 400)
        return JSONResponse([str(file) for file in files])


def refuse_addresses() -> None:
    """Lets requests name nothing that lies elsewhere: Gradio fetches no more."""

    async def refuse(url: str) -> NoReturn:
        raise gradio.Error("Photographs are sent, not fetched.", print_exception=False)

    processing_utils.async_ssrf_protected_get = refuse
