/* Photos: each is sent, and its card says what the model makes of it. */
const settings = JSON.parse(document.getElementById("settings").textContent);
const drop = document.getElementById("drop");
const results = document.getElementById("results");
const files = document.getElementById("files");
const MOST_CARDS = 20;

const percent = (share) => `${(100 * share).toFixed(1)} %`;

document.getElementById("command").textContent = `curl -F image=@photo.jpg ${location.origin}/predict`;

/** Ask the server; an error has the server's own words. */
async function ask(address, file) {
  const form = new FormData();
  form.append("image", file, file.name || "photo");
  let answer;
  try {
    answer = await fetch(address, { method: "POST", body: form });
  } catch {
    throw new Error("The server does not answer. Is tl serve still running?");
  }
  let told;
  try {
    told = await answer.json();
  } catch {
    throw new Error(`The server answered ${answer.status} ${answer.statusText}.`);
  }
  const problem = Array.isArray(told) ? told[0].error : told.error;
  if (problem) throw new Error(problem);
  return told;
}

/** A square frame with a caption, which a picture comes into. */
function frame(caption) {
  const figure = make("figure");
  figure.append(make("div", "frame"), make("figcaption", "", caption));
  return figure;
}

function fill(figure, source, description) {
  const image = make("img");
  image.src = source;
  image.alt = description;
  figure.firstChild.replaceChildren(image);
  return image;
}

/** A photo that was dropped, and its card. */
class Photo {
  constructor(file) {
    this.file = file;
    this.maps = new Map(); // By class.
    this.card = make("li", "result");
    this.address = URL.createObjectURL(file);
    this.photo = frame("Photo");
    const image = fill(this.photo, this.address, `The photo ${file.name}`);
    image.addEventListener("error", () => this.hidePhoto());
    this.pictures = make("div", "pictures");
    this.pictures.append(this.photo);
    this.name = make("p", "file", file.name);
    this.body = make("div");
    this.body.append(make("p", "busy", "Looking at it ..."));
    const text = make("div");
    text.append(this.name, this.body);
    this.card.append(this.pictures, text);
    results.prepend(this.card);
  }

  /** A browser may not know the format, such as HEIC; the server's picture of it comes with the heat map. */
  hidePhoto() {
    this.unknownFormat = true;
    this.photo.firstChild.replaceChildren(make("p", "", "This browser cannot show the format."));
  }

  async predict() {
    const started = performance.now();
    try {
      if (this.file.size > settings.uploadBytes) {
        throw new Error(`The file is larger than ${settings.uploadSize}. Choose a smaller one.`);
      }
      const [found] = await ask("/predict", this.file);
      this.name.textContent = `${this.file.name} · ${Math.round(performance.now() - started)} ms`;
      this.show(found);
    } catch (error) {
      this.body.replaceChildren(make("p", "alert bad", error.message));
      say(`${this.file.name}: ${error.message}`);
    }
  }

  show(found) {
    const given = (found.labels || []).map((each) => each.class_name);
    const verdict = found.labels
      ? given.join(", ") || "None of the labels"
      : `${found.class_name}, ${percent(found.probability)}`;
    this.body.replaceChildren(make("h2", "verdict", verdict));
    if (found.unknown) this.body.append(make("p", "alert", "Unlike the training images: it may show none of the classes."));
    const bars = make("div", "bars");
    for (const each of found.top_k) bars.append(this.bar(each, given.includes(each.class_name)));
    this.body.append(bars);
    if (settings.explains) {
      this.likeliest = found.top_k[0].class_name;
      this.map = frame("");
      this.map.setAttribute("aria-live", "polite");
      this.pictures.append(this.map);
      this.body.append(make("p", "hint", "Choose a class to see which parts of the photo speak for it."));
    }
    say(`${this.file.name}: ${verdict}`);
  }

  bar({ class_name: name, probability }, given) {
    const row = make(settings.explains ? "button" : "div", given ? "bar given" : "bar");
    const track = make("span", "track");
    const length = make("span", "length");
    length.style.width = percent(probability).replace(" ", "");
    track.append(length);
    row.append(make("span", "name", name), track, make("span", "share", percent(probability)));
    if (settings.explains) {
      row.type = "button";
      row.dataset.name = name;
      row.setAttribute("aria-pressed", "false");
      row.addEventListener("click", () => this.explain(name));
    }
    return row;
  }

  /** Show the heat map of a class. */
  async explain(name = this.likeliest) {
    if (!this.map) return; // Nothing was predicted, or the model has no gradients.
    this.chosen = name;
    for (const row of all(".bar", this.card)) row.setAttribute("aria-pressed", String(row.dataset.name === name));
    const caption = this.map.lastChild;
    let found = this.maps.get(name);
    if (!found) {
      caption.textContent = "Drawing ...";
      try {
        const option = name === this.likeliest ? "" : `?class_name=${encodeURIComponent(name)}`;
        found = await ask(`/explain${option}`, this.file);
      } catch (error) {
        caption.textContent = error.message;
        return;
      }
      this.maps.set(name, found);
    }
    if (this.chosen !== name) return; // Another one was chosen meanwhile.
    fill(this.map, found.overlay, `Heat map of ${name}`);
    caption.textContent = `Warm parts speak for ${name}`;
    caption.title = found.method;
    if (this.unknownFormat) fill(this.photo, found.input, `The photo ${this.file.name}, cropped`);
  }

  remove() {
    URL.revokeObjectURL(this.address);
    this.card.remove();
  }
}

const photos = [];
let sending = Promise.resolve();

/** Send files one after another, which leaves the server to others too. */
function take(chosen) {
  const added = [...chosen].map((file) => new Photo(file));
  if (!added.length) return;
  drop.classList.add("small");
  photos.push(...added);
  while (photos.length > Math.max(MOST_CARDS, added.length)) photos.shift().remove();
  for (const photo of added) sending = sending.then(() => photo.predict());
  for (const photo of added) sending = sending.then(() => photo.explain()); // Answers first, then pictures.
}

function say(text) {
  document.getElementById("spoken").textContent = text;
}

document.getElementById("choose").addEventListener("click", () => files.click());
files.addEventListener("change", () => {
  take(files.files);
  files.value = ""; // The same file may be chosen again.
});

/* Files may be dropped anywhere on the page; a browser would open those beside the box. */
let depth = 0;
const holdsFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
addEventListener("dragenter", (event) => {
  if (!holdsFiles(event)) return;
  depth += 1;
  drop.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!holdsFiles(event)) return;
  depth -= 1;
  if (depth <= 0) drop.classList.remove("over");
});
addEventListener("dragover", (event) => {
  if (holdsFiles(event)) event.preventDefault();
});
addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  depth = 0;
  drop.classList.remove("over");
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => take(event.clipboardData?.files || []));
