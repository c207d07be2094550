// Whatever has a data-index is chosen by a click; buttons with a data-column sort their table.
element.addEventListener("click", (event) => {
  const heading = event.target.closest("[data-column]");
  const item = event.target.closest("[data-index]");
  if (heading) sort(heading);
  else if (item) trigger("click", { index: Number(item.dataset.index) });
});

function sort(heading) {
  const cell = heading.closest("th");
  const descending = cell.ariaSort === "ascending" || (cell.ariaSort === "none" && heading.dataset.column > 0);
  for (const other of cell.parentElement.cells) other.ariaSort = "none";
  cell.ariaSort = descending ? "descending" : "ascending";
  const body = heading.closest("table").tBodies[0];
  const value = (row) => row.cells[heading.dataset.column].dataset.value;
  const order = (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true });
  const rows = [...body.rows].sort(order);
  body.append(...(descending ? rows.reverse() : rows));
}
