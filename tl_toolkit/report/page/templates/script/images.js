/* The images of a cell of the confusion matrix, or of a frequent mistake, in a panel at the side. */
const drawer = document.getElementById("images-of-cell");
const drawerSwitch = drawer.querySelector(".switch");
let opener = null;

function pictureOf(number) {
  return document.getElementById(`picture-${number}`)?.src ?? data.pictures[number];
}

function cardOf(image) {
  const card = make("figure", "card");
  const frame = make("span", "frame");
  for (const [number, className] of [[image.picture, ""], [image.heat, "heat"]]) {
    if (number === null) continue;
    const picture = make("img", className);
    picture.alt = className ? `What the model looked at in ${image.name}` : image.name;
    picture.src = pictureOf(number);
    frame.append(picture);
  }
  if (!frame.children.length) frame.append(make("span", "no-picture", "no picture"));
  const caption = make("figcaption");
  const right = image.truth === image.predicted;
  caption.append(make("span", right ? "is right" : "is wrong", image.predicted));
  if (!right) caption.append(make("span", "truth", `is ${image.truth}`));
  if (image.probability) {
    const sure = make("span", "sure");
    const meter = make("meter");
    meter.value = parseFloat(image.probability) / 100;
    meter.setAttribute("aria-label", "probability");
    sure.append(meter, image.probability);
    caption.append(sure);
  }
  if (image.note) caption.append(make("span", "note", image.note));
  const name = make("span", "name");
  name.append(make("bdi", "", image.name));
  name.title = image.name;
  caption.append(name);
  card.append(frame, caption);
  return card;
}

/** Open the panel. `from` gets the focus back when it is closed. */
function showImages(from, title, key, count) {
  opener?.setAttribute("aria-selected", "false");
  opener = from;
  if (from.tagName === "TD") from.setAttribute("aria-selected", "true");
  const images = data.cells[key] ?? [];
  document.getElementById("drawer-title").textContent = title;
  const all = images.length === count ? "" : `, of which ${images.length || "none"} ${images.length === 1 ? "is" : "are"} shown`;
  drawer.querySelector("p").textContent = `${count.toLocaleString("en")} ${count === 1 ? "image" : "images"}${all}`;
  drawerSwitch.hidden = !images.some((image) => image.heat !== null);
  drawer.querySelector(".cards").replaceChildren(...images.map(cardOf));
  drawer.hidden = false;
  drawer.scrollTop = 0;
  document.getElementById("drawer-title").focus({ preventScroll: true });
}

function closeImages() {
  if (drawer.hidden) return;
  drawer.hidden = true;
  if (opener?.tagName === "TD") opener.setAttribute("aria-selected", "false");
  opener?.focus({ preventScroll: true });
  opener = null;
}

drawer.querySelector("[data-close]").addEventListener("click", closeImages);
addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeImages();
});
for (const button of all("[data-images]")) {
  button.addEventListener("click", () => {
    const row = button.closest("li");
    const count = Number(row.querySelector(".count").textContent.replaceAll(",", ""));
    showImages(button, row.querySelector(".pair").textContent, button.dataset.images, count);
  });
}
