"""The page: what is on it, and what happens when somebody does something there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr

from qdnet_keras.app import cards
from qdnet_keras.app.studio import Picture, Studio, thumbnail
from qdnet_keras.app.visitors import Visitors
from qdnet_keras.errors import ImageError, QDNetError

ASSETS = Path(str(resources.files("qdnet_keras.app") / "assets"))
SAMPLES = Path(str(resources.files("qdnet_keras") / "samples"))
STEP_UP, HIGHEST_FIRST = 20, 95  # of the score: where the target of a photograph starts
CLICK_FILE = "() => document.querySelector('#file').click()"

Pictures = tuple[Picture, ...]
Update = dict[Any, Any]
_PRIVATE: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None}
_QUIET: dict[str, Any] = {**_PRIVATE, "show_progress": "hidden"}


class Page:
    """Builds the page once for everybody; what belongs to one visitor's is in `gr.State`.

    Attributes:
        blocks: Gradio's page.
    """

    def __init__(self, studio: Studio, visitors: Visitors):
        self.studio, self.visitors = studio, visitors
        with gr.Blocks(
            title="QD-net", analytics_enabled=False, delete_cache=(3600, 86400)
        ) as self.blocks:
            self._lay_out()
            self._wire()

    def _lay_out(self) -> None:
        self.pictures = gr.State(())
        self.current = gr.State(0)
        _html(cards.HEADER)
        self.drop = gr.File(
            file_count="multiple",
            label="Photographs",
            show_label=False,
            elem_id="drop",
        )
        _html(elem_id="too-large")  # filled in the browser, which knows before anything is sent
        self.status = _html(elem_id="status")
        self.sample_files = sorted(SAMPLES.glob("*.jpg"))
        thumbnails = [thumbnail(file) for file in self.sample_files]
        self.samples = _html(cards.samples(thumbnails), elem_id="samples")
        with gr.Column(visible=False) as self.workspace, gr.Tabs() as self.tabs:
            with gr.Tab("Photograph", id="photograph"), gr.Row(equal_height=False):
                with gr.Column(scale=7, min_width=320):
                    self._lay_out_picture()
                with gr.Column(scale=3, min_width=280):
                    self.card = _html()
                    self.download = gr.Button(
                        "Download rendering", variant="primary", elem_id="download"
                    )
                    with gr.Row(elem_id="others"):
                        self.recipe = gr.Button("Recipe", size="sm", min_width=80)
                        self.cube = gr.Button("LUT (.cube)", size="sm", min_width=80)
                    self.file = gr.DownloadButton(visible="hidden", elem_id="file")
                    self.why = gr.Button("Why this score?", elem_id="why")
                    self.reasons = _html(elem_id="reasons")
                    self.clear = gr.Button("Remove all photographs", size="sm")
            with gr.Tab("Gallery", id="gallery"):
                self.table = _html(elem_id="ranking")

    def _lay_out_picture(self) -> None:
        self.compare = gr.ImageSlider(
            type="filepath",
            label="Original and rendering",
            show_label=False,
            interactive=False,
            buttons=["fullscreen"],
            max_height=560,
            elem_id="compare",
        )
        self.target = gr.Slider(step=1, label="Target score", buttons=[], elem_id="target")
        self.outcome = _html(elem_id="outcome")
        self.strip = _html()

    def _wire(self) -> None:
        chosen = [self.pictures, self.current]
        targeted = [*chosen, self.target]
        shown = [self.card, self.target, self.compare, self.strip, self.outcome, self.reasons]
        rendered = [self.compare, self.outcome]
        held = [*chosen, self.drop, self.samples, self.status, self.workspace, self.table]

        for event in (
            self.drop.upload(self._add, [self.drop, *chosen], held, **_QUIET),
            self.samples.click(self._add_samples, chosen, held, **_QUIET),
            self.strip.click(_choose, None, self.current, **_QUIET),
            self.table.click(_choose_in_gallery, None, [self.current, self.tabs], **_QUIET),
        ):
            event.success(self._show, chosen, shown, **_QUIET).success(
                self._render, targeted, rendered, show_progress_on=self.compare, **_PRIVATE
            )
        self.target.release(
            self._render,
            targeted,
            rendered,
            show_progress_on=self.compare,
            trigger_mode="always_last",
            **_PRIVATE,
        )
        for button, write in (
            (self.download, self._write_rendering),
            (self.recipe, self._write_recipe),
            (self.cube, self._write_cube),
        ):
            button.click(
                write,
                targeted,
                [self.file, self.outcome],
                show_progress_on=self.outcome,
                **_PRIVATE,
            ).success(None, js=CLICK_FILE, **_PRIVATE)
        self.why.click(self._explain, chosen, self.reasons, **_PRIVATE)
        self.clear.click(self._remove_all, None, held, **_QUIET)
        self.blocks.load(self._arrive, **_QUIET)
        self.blocks.unload(self._leave)

    def _add(
        self, files: list[str], pictures: Pictures, current: int, request: gr.Request
    ) -> Iterator[Update]:
        sent = map(Path, files)
        uploads = [file for file in sent if self.visitors.is_upload(request.cookies, file)]
        try:
            yield from self._take_in(uploads, pictures, current, request)
        finally:
            for file in uploads:
                file.unlink(missing_ok=True)

    def _add_samples(
        self, pictures: Pictures, current: int, event: gr.EventData, request: gr.Request
    ) -> Iterator[Update]:
        chosen = self.sample_files[event.index : event.index + 1] or self.sample_files
        yield from self._take_in(chosen, pictures, current, request)

    def _take_in(
        self, files: Sequence[Path], pictures: Pictures, current: int, request: gr.Request
    ) -> Iterator[Update]:
        """Scores files one after the other; those that cannot be used are told in a sentence.

        The first that was added is opened, else what was open stays so.
        """
        count, refused = len(pictures), list[str]()
        for done, file in enumerate(files):
            yield {self.status: cards.working(done, len(files))}
            try:
                pictures = (*pictures, self.studio.admit(file, self._folder(request)))
            except QDNetError as error:
                refused.append(str(error))
        opened = count if len(pictures) > count else current
        yield {self.status: cards.notices(refused), **self._held(pictures, opened)}

    def _held(self, pictures: Pictures, current: int) -> Update:
        """The page with these photographs on it."""
        return {
            self.pictures: pictures,
            self.current: current,
            self.drop: gr.File(value=None, elem_classes=["slim"] if pictures else []),
            self.samples: gr.HTML(visible=not pictures),
            self.workspace: gr.Column(visible=bool(pictures)),
            self.table: cards.ranking(pictures),
        }

    def _show(self, pictures: Pictures, current: int) -> Update:
        if not pictures:
            return {self.card: ""}
        picture = pictures[min(current, len(pictures) - 1)]
        target = min(5 * round((picture.score.score + STEP_UP) / 5), HIGHEST_FIRST)
        return {
            self.card: cards.score_card(picture),
            self.target: target,
            self.compare: (picture.shown, picture.shown),
            self.strip: cards.filmstrip(pictures, current),
            self.outcome: "",
            self.reasons: "",
        }

    def _explain(self, pictures: Pictures, current: int, request: gr.Request) -> str:
        try:
            picture = self._own(pictures, current, request)
            return cards.reasons(picture, self.studio.explain(picture))
        except QDNetError as error:
            return cards.notices([str(error)])

    def _render(
        self, pictures: Pictures, current: int, target: float, request: gr.Request
    ) -> Update:
        if not pictures:
            return {self.outcome: ""}
        try:
            picture = self._own(pictures, current, request)
            rendering, enhanced = self.studio.show(picture, target)
        except QDNetError as error:
            return {self.outcome: cards.notices([str(error)])}
        return {
            self.compare: (picture.shown, rendering),
            self.outcome: cards.outcome(enhanced),
        }

    def _write_rendering(
        self, pictures: Pictures, current: int, target: float, request: gr.Request
    ) -> Update:
        with _toast():
            picture = self._own(pictures, current, request)
            file, enhanced, notes = self.studio.render(picture, target)
        return {self.file: file, self.outcome: cards.saved(file.name, enhanced, notes)}

    def _write_recipe(
        self, pictures: Pictures, current: int, target: float, request: gr.Request
    ) -> Update:
        with _toast():
            file = self.studio.recipe(self._own(pictures, current, request), target)
        return {self.file: file, self.outcome: cards.saved_recipe(file.name)}

    def _write_cube(
        self, pictures: Pictures, current: int, target: float, request: gr.Request
    ) -> Update:
        with _toast():
            file, cube = self.studio.cube(self._own(pictures, current, request), target)
        return {self.file: file, self.outcome: cards.saved_cube(file.name, cube)}

    def _remove_all(self, request: gr.Request) -> Update:
        self._leave(request)
        self._arrive(request)
        return {self.status: "", **self._held((), 0)}

    def _arrive(self, request: gr.Request) -> None:
        self.visitors.welcome(request.cookies, request.session_hash)

    def _leave(self, request: gr.Request) -> None:
        with self.studio.lock:
            self.visitors.forget(request.cookies, request.session_hash)

    def _folder(self, request: gr.Request) -> Path:
        return self.visitors.folder(request.cookies, request.session_hash)

    def _own(self, pictures: Pictures, current: int, request: gr.Request) -> Picture:
        """The photograph chosen. Raises `ImageError` if it is not on this visitor's page."""
        if 0 <= current < len(pictures):
            picture = pictures[current]
            if self.visitors.owns(request.cookies, picture.file):
                return picture
        raise ImageError("The photograph is no longer here; add it again.")


@contextmanager
def _toast() -> Iterator[None]:
    """Tells an error and keeps what should follow from happening."""
    try:
        yield
    except QDNetError as error:
        raise gr.Error(escape(str(error)), print_exception=False) from None


def _choose(event: gr.EventData) -> int:
    return int(event.index)


def _choose_in_gallery(event: gr.EventData) -> tuple[int, Any]:
    return int(event.index), gr.Tabs(selected="photograph")


def _html(value: str = "", elem_id: str | None = None) -> gr.HTML:
    """HTML of ours, in which whatever has a `data-index` can be chosen by a click."""
    script = (ASSETS / "choose.js").read_text(encoding="utf-8")
    return gr.HTML(value, js_on_load=script, apply_default_css=False, elem_id=elem_id)
