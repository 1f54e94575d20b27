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
