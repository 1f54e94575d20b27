/* The confusion matrix as a grid: one stop of the Tab key, arrows within it, Enter or a click for images. */
const matrixBox = document.querySelector(".matrix");
if (matrixBox) {
  const table = matrixBox.querySelector("table");
  const cells = all("tbody tr", table).map((row) => all("td", row));
  const columns = all("thead th", table);
  const rows = all("tbody th", table);
  const names = columns.map((column) => column.textContent);
  const totals = cells.map((row) => row.reduce((sum, cell) => sum + countOf(cell), 0));
  let at = [0, 0];

  function countOf(cell) {
    return Number(cell.textContent);
  }

  function describe(i, j) {
    const count = countOf(cells[i][j]);
    const share = totals[i] ? ` (${((100 * count) / totals[i]).toFixed(1)} %)` : "";
    const title = i === j ? `${names[i]}, named rightly` : `${names[i]} taken for ${names[j]}`;
    return [title, `${count} of ${totals[i]} ${totals[i] === 1 ? "image" : "images"}${share}`];
  }

  function light(i, j) {
    for (const each of all(".lit", table)) each.classList.remove("lit");
    if (i === undefined) return;
    rows[i].classList.add("lit");
    columns[j].classList.add("lit");
  }

  function tipAt(i, j) {
    const box = cells[i][j].getBoundingClientRect();
    const [title, line] = describe(i, j);
    showTip(box.right, box.top, title, [line]);
    light(i, j);
  }

  function goTo(i, j) {
    cells[at[0]][at[1]].tabIndex = -1;
    at = [i, j];
    const cell = cells[i][j];
    cell.tabIndex = 0;
    cell.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
    cell.focus({ preventScroll: true });
  }

  /** The next cell on the way; with `skip`, the next one that has images. */
  function step([i, j], [down, right], skip) {
    let [k, l] = [i + down, j + right];
    while (skip && cells[k]?.[l] && !countOf(cells[k][l])) [k, l] = [k + down, l + right];
    return cells[k]?.[l] ? [k, l] : [i, j];
  }

  function open(i, j) {
    const count = countOf(cells[i][j]);
    if (count) showImages(cells[i][j], describe(i, j)[0], `${i},${j}`, count);
  }

  table.setAttribute("role", "grid");
  cells.forEach((row, i) => {
    row.forEach((cell, j) => {
      cell.tabIndex = -1;
      if (countOf(cell)) cell.setAttribute("aria-label", describe(i, j).join(": "));
    });
  });
  const first = cells.flatMap((row, i) => row.map((cell, j) => [cell, i, j])).find(([cell]) => countOf(cell));
  if (first) at = [first[1], first[2]];
  cells[at[0]][at[1]].tabIndex = 0;
  matrixBox.removeAttribute("tabindex"); // The cell is what the Tab key reaches.

  const placeOf = (cell) => [cell.parentElement.sectionRowIndex, cell.cellIndex - 1];
  const cellOf = (event) => event.target.closest("tbody td");
  table.addEventListener("pointerover", (event) => {
    const cell = cellOf(event);
    if (cell) tipAt(...placeOf(cell));
  });
  table.addEventListener("pointerleave", () => {
    hideTip();
    light();
  });
  table.addEventListener("click", (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    goTo(...placeOf(cell));
    hideTip();
    open(...placeOf(cell));
  });
  table.addEventListener("focusin", (event) => {
    const cell = cellOf(event);
    if (cell?.matches(":focus-visible")) tipAt(...placeOf(cell));
  });
  table.addEventListener("focusout", () => {
    hideTip();
    light();
  });
  table.addEventListener("keydown", (event) => {
    const ways = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const [i, j] = at;
    if (ways[event.key]) goTo(...step(at, ways[event.key], event.ctrlKey || event.metaKey));
    else if (event.key === "Home") goTo(event.ctrlKey ? 0 : i, 0);
    else if (event.key === "End") goTo(event.ctrlKey ? cells.length - 1 : i, cells.length - 1);
    else if (event.key === "Enter" || event.key === " ") open(i, j);
    else return;
    event.preventDefault();
  });

  let zoom = 1;
  for (const button of all("[data-zoom] button")) {
    button.addEventListener("click", () => {
      const by = Number(button.dataset.by);
      zoom = by ? Math.min(Math.max(zoom * by, 0.4), 6) : 1;
      matrixBox.style.setProperty("--zoom", zoom);
      matrixBox.classList.toggle("small", cells[0][0].getBoundingClientRect().width < 22);
    });
  }
}
