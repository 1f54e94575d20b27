const data = JSON.parse(document.getElementById("report-data").textContent);

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
