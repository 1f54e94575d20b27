/* The map of the features: the image nearest to the pointer, and one class lifted out of the others. */
const scatter = document.querySelector(".scatter svg");
if (scatter && data.map) {
  const { points, classes } = data.map;
  const cursor = scatter.querySelector(".cursor");
  let current = -1;

  const show = (k, spokenToo) => {
    current = k;
    const [x, y, index, name, right] = points[k];
    cursor.replaceChildren(makeSvg("circle", { cx: x, cy: y, r: 9 }));
    const box = scatter.getBoundingClientRect();
    const scale = box.width / scatter.viewBox.baseVal.width;
    const lines = right ? [name] : ["predicted wrongly", name];
    showTip(box.left + x * scale, box.top + y * scale, classes[index], lines);
    if (spokenToo) say([classes[index], ...lines].join(", "));
  };
  const hide = () => {
    cursor.replaceChildren();
    hideTip();
  };
  /** The nearest point, weighed by a function of the way to it. */
  const nearest = (weigh) => {
    let best = -1;
    let least = Infinity;
    points.forEach(([x, y], k) => {
      const weight = weigh(x, y, k);
      if (weight < least) [best, least] = [k, weight];
    });
    return best;
  };

  scatter.addEventListener("pointermove", (event) => {
    const box = scatter.getBoundingClientRect();
    const scale = scatter.viewBox.baseVal.width / box.width;
    const [atX, atY] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const k = nearest((x, y) => Math.hypot(x - atX, y - atY));
    if (Math.hypot(points[k][0] - atX, points[k][1] - atY) < 24 * scale) show(k, false);
    else hide();
  });
  scatter.addEventListener("pointerleave", hide);
  scatter.addEventListener("blur", hide);
  scatter.tabIndex = 0;
  scatter.setAttribute("aria-label", `${scatter.getAttribute("aria-label")}. Arrow keys go from image to image.`);
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  scatter.addEventListener("keydown", (event) => {
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    if (current < 0) return show(0, true);
    const [fromX, fromY] = points[current];
    const next = nearest((x, y, k) => {
      const along = (x - fromX) * way[0] + (y - fromY) * way[1];
      const aside = Math.abs((x - fromX) * way[1]) + Math.abs((y - fromY) * way[0]);
      return k === current || along <= 0 || aside > 2 * along ? Infinity : along + 2 * aside;
    });
    if (next >= 0) show(next, true);
  });

  /** Fade all classes but one; none if it is empty. */
  const lift = (index) => {
    for (const group of all("g[data-class]", scatter)) {
      group.classList.toggle("faded", index !== "" && group.dataset.class !== index);
    }
    for (const button of all(".legend button")) {
      button.setAttribute("aria-pressed", String(button.dataset.class === index));
    }
  };
  for (const button of all(".legend button")) {
    button.addEventListener("click", () => {
      lift(button.getAttribute("aria-pressed") === "true" ? "" : button.dataset.class);
    });
  }
  document.querySelector(".choose select")?.addEventListener("change", (event) => lift(event.target.value));
}
