/* The table of classes: sorted by any column, filtered by name, and longer on demand. */
const PAGE_OF_ROWS = 200;
const classTable = document.getElementById("class-table");
if (classTable) {
  const body = classTable.tBodies[0];
  const heads = [...classTable.tHead.rows[0].cells];
  const more = document.querySelector("[data-more]");
  const filter = document.querySelector("[data-filter-of]");
  const there = [...body.rows];
  const textOf = (cell) => (cell.querySelector("span") ?? cell).textContent;

  /* A row is its texts; its element is made when it is first shown. */
  const rows = data.rows
    ? data.rows.map(([name, ...figures], k) => ({ texts: [name, ...figures.map(([text]) => text)], figures, element: there[k] }))
    : there.map((element) => ({ texts: [...element.cells].map(textOf), element }));
  for (const row of rows) row.keys = [row.texts[0], ...row.texts.slice(1).map((text) => parseFloat(text.replaceAll(",", "")))];
  const byName = new Intl.Collator(undefined, { numeric: true }).compare;
  let shown = rows;
  let limit = PAGE_OF_ROWS;

  function whisker(text, interval) {
    const at = (value) => `${Math.min(Math.max(parseFloat(value), 0), 100)}%`;
    const svg = makeSvg("svg", { "aria-hidden": "true" }, "whisker");
    svg.append(makeSvg("line", { x1: "0%", x2: "100%", y1: "50%", y2: "50%" }, "rail"));
    const [low, high] = interval.match(/[\d.]+/g) ?? [];
    if (high) svg.append(makeSvg("line", { x1: at(low), x2: at(high), y1: "50%", y2: "50%" }, "interval"));
    svg.append(makeSvg("circle", { cx: at(text), cy: "50%", r: 4 }));
    return svg;
  }

  function elementOf(row) {
    if (row.element) return row.element;
    row.element = make("tr");
    const head = make("th", "", row.texts[0]);
    head.scope = "row";
    row.element.append(head);
    for (const [text, interval] of row.figures) {
      const cell = make("td");
      cell.append(make("span", "", text));
      if (text.endsWith("%")) cell.append(make("i", "", interval), whisker(text, interval));
      row.element.append(cell);
    }
    return row.element;
  }

  function draw() {
    body.replaceChildren(...shown.slice(0, limit).map(elementOf));
    if (!more) return;
    const left = shown.length - limit;
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(PAGE_OF_ROWS, left).toLocaleString("en")} more of ${left.toLocaleString("en")}`;
  }

  function sort(column) {
    const before = heads[column].getAttribute("aria-sort");
    const first = column ? "descending" : "ascending"; // Of figures, the highest come first.
    const second = column ? "ascending" : "descending";
    const order = before === first ? second : first;
    for (const head of heads) head.setAttribute("aria-sort", "none");
    heads[column].setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => {
      const [x, y] = [a.keys[column], b.keys[column]];
      if (!column) return sign * byName(x, y);
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y); // What is missing comes last.
      return sign * (x - y);
    });
    narrow();
  }

  function narrow() {
    const wanted = filter?.querySelector("input").value.trim().toLowerCase() ?? "";
    shown = wanted ? rows.filter((row) => row.texts[0].toLowerCase().includes(wanted)) : rows;
    limit = PAGE_OF_ROWS;
    if (filter) {
      filter.querySelector("output").textContent = wanted
        ? `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`
        : "";
    }
    draw();
  }

  heads.forEach((head, column) => {
    const button = make("button", "", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sort(column));
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
  });
  filter?.querySelector("input").addEventListener("input", narrow);
  more?.addEventListener("click", () => {
    limit += PAGE_OF_ROWS;
    draw();
  });
  if (more) draw();
}
