// What Gradio leaves to the mouse: the slider and the divider by key, and scrolling over a picture.
() => {
  const dragged = (divider, x) => {
    const mouse = (type) => new MouseEvent(type, { clientX: x, clientY: 0, bubbles: true, view: window });
    divider.dispatchEvent(mouse("mousedown"));
    window.dispatchEvent(mouse("mousemove"));
    window.dispatchEvent(mouse("mouseup"));
  };

  document.addEventListener("keyup", (event) => {
    if (event.target.matches("#target input"))
      event.target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
  });

  document.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || !event.target.matches("#compare [data-testid=slider]")) return;
    event.preventDefault();
    const { left, width } = event.target.getBoundingClientRect();
    dragged(event.target, left + width / 2 + way * 24);
  });

  // A file that is too large is left out, so that the others are sent.
  const megabytes = (bytes) => Math.ceil(bytes / 2 ** 20);
  const limit = window.gradio_config.max_file_size ?? Infinity;
  const sizesChecked = new WeakSet();
  const send = (input, files) => {
    const fitting = new DataTransfer();
    const sentences = [...files].flatMap((file) => {
      if (file.size <= limit) return void fitting.items.add(file) ?? [];
      return `${file.name} has ${megabytes(file.size)} MB; at most ${megabytes(limit)} MB can be added here.`;
    });
    const list = document.createElement("ul");
    list.className = "notices";
    list.role = "alert";
    list.append(...sentences.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    document.querySelector("#too-large .html-container > div").replaceChildren(...(sentences.length ? [list] : []));
    input.files = fitting.files;
    const change = new Event("change", { bubbles: true });
    sizesChecked.add(change);
    if (fitting.files.length) input.dispatchEvent(change);
  };
  document.addEventListener("change", (event) => {
    if (sizesChecked.has(event) || !event.target.matches("#drop input[type=file]")) return;
    event.stopImmediatePropagation();
    send(event.target, event.target.files);
  }, true);
  document.addEventListener("drop", (event) => {
    const zone = event.target.closest("#drop");
    if (!zone || !event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    send(zone.querySelector("input[type=file]"), event.dataTransfer.files);
  }, true);

  const overPicture = (event) =>
    event.target.closest("#compare") && !event.target.closest("[data-testid=slider]") && !document.fullscreenElement;
  const leaveToThePage = (event) => {
    if (overPicture(event) && !event.ctrlKey && (event.touches?.length ?? 1) === 1) event.stopPropagation();
  };
  for (const type of ["wheel", "touchstart", "touchmove"])
    document.addEventListener(type, leaveToThePage, { capture: true, passive: true });

  new MutationObserver(() => {
    const divider = document.querySelector("#compare [data-testid=slider]:not([tabindex])");
    divider?.setAttribute("tabindex", "0");
    divider?.setAttribute("aria-label", "Divider between original and rendering; arrow keys move it");
    document.querySelectorAll("#compare img").forEach((image, index) => {
      image.alt = index ? "Rendering" : "Original";
    });
  }).observe(document.body, { childList: true, subtree: true });
}
