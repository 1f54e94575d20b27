"use strict";
const root = document.documentElement;
root.classList.add("js");
const data = JSON.parse(document.getElementById("report-data").textContent);

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** Make an element with text. */
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Make an element of SVG. */
function makeSvg(tag, attributes, className) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (className) element.setAttribute("class", className);
  return element;
}

/* Light and dark: what the system prefers, until the reader chooses; a reload keeps the choice. */
const themeButton = document.getElementById("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const STORE = "tl-report-theme";

function storedTheme() {
  try {
    return sessionStorage.getItem(STORE);
  } catch {
    return null; // A browser may forbid files to store anything.
  }
}

function setTheme(theme) {
  if (theme) root.dataset.theme = theme;
  const dark = (theme || (prefersDark.matches ? "dark" : "light")) === "dark";
  themeButton.textContent = dark ? "☀ Light" : "☾ Dark";
  themeButton.setAttribute("aria-label", dark ? "Change to light" : "Change to dark");
  return dark;
}

themeButton.hidden = false;
setTheme(storedTheme());
prefersDark.addEventListener("change", () => setTheme(root.dataset.theme));
themeButton.addEventListener("click", () => {
  const theme = setTheme(root.dataset.theme) ? "light" : "dark";
  setTheme(theme);
  try {
    sessionStorage.setItem(STORE, theme);
  } catch {
    // Then it lasts until the page is left.
  }
});

/* The section that is read is marked in the bar. */
const links = new Map(all(".bar nav a").map((link) => [link.hash.slice(1), link]));
const inView = new Set();
new Set(links.keys()).forEach((id) => {
  new IntersectionObserver(
    ([entry]) => {
      if (entry.isIntersecting) inView.add(id);
      else inView.delete(id);
      const current = [...links.keys()].find((each) => inView.has(each));
      for (const [each, link] of links) {
        if (each !== current) link.removeAttribute("aria-current");
        else if (!link.hasAttribute("aria-current")) {
          link.setAttribute("aria-current", "true");
          link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.offsetLeft - 40;
        }
      }
    },
    { rootMargin: "-20% 0px -60% 0px" },
  ).observe(document.getElementById(id));
});

/* Paper shows what is folded, also from browsers that do not know ::details-content. */
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  for (const each of folded) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of folded) each.open = false;
});

for (const button of all("[data-copy]")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // Where copying is forbidden, the reader presses Ctrl C.
      button.textContent = "Selected";
    }
    say(button.textContent);
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}
