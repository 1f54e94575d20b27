/* What the pointer is at, in a box beside it; for arrow keys it is spoken too. */
const tip = document.getElementById("tip");
const spoken = document.getElementById("spoken");

function say(text) {
  spoken.textContent = text;
}

/** Show lines at a point of the window, where they do not leave it. */
function showTip(x, y, title, lines) {
  tip.replaceChildren(make("strong", "", title), ...lines.map((line) => make("div", "", line)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 16 + box.width > innerWidth ? x - box.width - 16 : x + 16;
  const top = y - box.height - 12 < 0 ? y + 18 : y - box.height - 12;
  tip.style.translate = `${Math.max(left, 4)}px ${top}px`;
}

function hideTip() {
  tip.hidden = true;
}

for (const moved of ["wheel", "touchmove"]) addEventListener(moved, hideTip, { passive: true });
addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
});
