"""Who may fetch which file: each browser has a cookie, and each of its pages a folder."""

import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qdnet_keras.errors import ImageError

COOKIE = "qdnet_visitor"
CLOSED = "This page was closed, or its cookie refused; load it again."
_TOKEN = re.compile(r"[0-9a-f]{32}")
_PAGE = re.compile(r"\w{1,64}")
_HEADERS = {
    # Gradio's page has scripts and styles of its own in it; nothing comes from, or goes, elsewhere.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'self'; form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Visitors:
    """The folders of everybody who looks at the page.

    Args:
        root: Gradio's folder for files; an empty one that nobody else uses.
    """

    def __init__(self, root: Path):
        self.root = root.resolve()

    def welcome(self, cookies: dict[str, str], page: str | None) -> None:
        """Makes the folder of a page that was opened."""
        folder = self._place(cookies, page)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def folder(self, cookies: dict[str, str], page: str | None) -> Path:
        """Where an open page keeps its files. Raises `ImageError` for a page that is not open."""
        folder = self._place(cookies, page)
        if folder is None or not folder.is_dir():
            raise ImageError(CLOSED)
        return folder

    def forget(self, cookies: dict[str, str], page: str | None) -> None:
        """Removes what a page kept, and with the last page all that the visitor has sent."""
        folder = self._place(cookies, page)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # it holds other pages
                folder.parent.rmdir()
                shutil.rmtree(self.root / "sent" / folder.parent.name, ignore_errors=True)

    def owns(self, cookies: dict[str, str], file: str | Path) -> bool:
        """Whether a file lies in a folder of this visitor."""
        own = self._own(cookies)
        return own is not None and Path(file).resolve().is_relative_to(own)

    def new_upload(self, cookies: dict[str, str]) -> Path | None:
        """A new folder for what a visitor sends; None without the cookie."""
        own = self._own(cookies)
        return None if own is None else self.root / "sent" / own.name / secrets.token_hex(8)

    def is_upload(self, cookies: dict[str, str], file: Path) -> bool:
        """Whether this visitor has sent a file."""
        own = self._own(cookies)
        return own is not None and file.resolve().is_relative_to(self.root / "sent" / own.name)

    def _place(self, cookies: dict[str, str], page: str | None) -> Path | None:
        own = self._own(cookies)
        return own / str(page) if own and _PAGE.fullmatch(page or "") else None

    def _own(self, cookies: dict[str, str]) -> Path | None:
        token = cookies.get(COOKIE, "")
        return self.root / "visitors" / token if _TOKEN.fullmatch(token) else None


class OwnFilesOnly:
    """ASGI middleware: gives out the cookie, and files only to the visitor whose they are."""

    def __init__(self, app: ASGIApp, visitors: Visitors):
        self.app, self.visitors = app, visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        cookies = HTTPConnection(scope).cookies

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if COOKIE not in cookies and scope["path"] == "/":
                    headers.append("set-cookie", _new_cookie())
            await send(message)

        allowed = self._allows(scope["path"], cookies)
        answer = self.app if allowed else PlainTextResponse("There is no such file.", 404)
        await answer(scope, receive, send_with_headers)

    def _allows(self, path: str, cookies: dict[str, str]) -> bool:
        """Gradio's own routes give out its whole folder, and what lies at other addresses."""
        _, asked, file = path.partition("/file=")
        if asked:
            return self.visitors.owns(cookies, file)
        return "/file/" not in path and "/proxy=" not in path


def _new_cookie() -> str:
    return f"{COOKIE}={secrets.token_hex(16)}; Path=/; HttpOnly; SameSite=Strict"
