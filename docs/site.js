"use strict";
// What the theme leaves out for keyboards and screen readers: what scrolls sideways takes the focus, and what it builds
// in the browser has names.
(() => {
  const mend = () => {
    for (const place of document.querySelectorAll("pre > code, .md-typeset__scrollwrap")) {
      if (place.scrollWidth > place.clientWidth) place.tabIndex = 0; else place.removeAttribute("tabindex");
    }
    document.querySelectorAll(".md-code__nav").forEach((nav, at) => nav.setAttribute("aria-label", `Code block ${at + 1}`));
    document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  };
  const labels = new Map();
  for (const nav of document.querySelectorAll("nav.md-nav[aria-label]")) {
    const label = nav.getAttribute("aria-label"), count = (labels.get(label) ?? 0) + 1;
    labels.set(label, count);
    if (nav.matches(".md-nav--secondary .md-nav")) nav.setAttribute("aria-label", `${label}, part ${count} of this page`);
  }
  mend();
  new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
  addEventListener("resize", mend);
})();
