/* Charts with a horizontal axis: the values nearest to the pointer, or at each press of an arrow key. */
for (const figure of all("[data-chart]")) {
  const stops = data.charts[figure.dataset.chart];
  const svg = figure.querySelector("svg");
  const cursor = figure.querySelector(".cursor");
  if (!stops.length) continue;
  let current = -1;

  const show = (k, spokenToo) => {
    current = Math.min(Math.max(k, 0), stops.length - 1);
    const stop = stops[current];
    const { height } = svg.viewBox.baseVal;
    cursor.replaceChildren(
      makeSvg("line", { x1: stop.x, x2: stop.x, y1: 26, y2: height - 40 }),
      ...stop.dots.map((y) => makeSvg("circle", { cx: stop.x, cy: y, r: 4 })),
    );
    const lines = stop.values.map(([name, text]) => `${name} ${text}`);
    const box = svg.getBoundingClientRect();
    const scale = box.height / height;
    showTip(box.left + stop.x * scale, box.top + Math.min(...stop.dots, height / 2) * scale, stop.title, lines);
    if (spokenToo) say([stop.title, ...lines].join(", "));
  };
  const hide = () => {
    cursor.replaceChildren();
    hideTip();
  };

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    let nearest = 0;
    stops.forEach((stop, k) => {
      if (Math.abs(stop.x - x) < Math.abs(stops[nearest].x - x)) nearest = k;
    });
    show(nearest, false);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.tabIndex = 0;
  svg.setAttribute("aria-label", `${svg.getAttribute("aria-label")} Arrow keys read its values.`);
  svg.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: stops.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to, true);
  });
}
