"use strict";
// What the theme leaves out.  For keyboards and screen readers, what scrolls sideways takes the focus, and what it builds
// in the browser has names.  For the search, options are words, and words that the pages write otherwise have a second one.
(() => {
  const mend = () => {
    for (const place of document.querySelectorAll("pre > code, .md-typeset__scrollwrap")) {
      if (place.scrollWidth > place.clientWidth) place.tabIndex = 0; else place.removeAttribute("tabindex");
    }
    document.querySelectorAll(".md-code__nav").forEach((nav, at) => nav.setAttribute("aria-label", `Code block ${at + 1}`));
    document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  };
  // Several lists may have one name: a heading that is used twice, and the contents, which stand in the menu too.
  const used = new Set();
  for (const nav of document.querySelectorAll("nav.md-nav[aria-label]")) {
    const name = nav.getAttribute("aria-label").trim();
    let label = name;
    for (let part = 2; used.has(label.toLowerCase()); part++) label = `${name}, part ${part}`;
    used.add(label.toLowerCase());
    nav.setAttribute("aria-label", label);
  }
  const also = { epsilon: "ε", mia: "membership inference", sigma: "noise multiplier", colour: "color", oom: "memory" };
  // The search reads a minus before a word as "without this word", but whoever types --rank looks for the option.
  const asked = (query) => {
    const words = query.replace(/(^|\s)-+(?=\w)/g, "$1");
    return [words, ...words.toLowerCase().split(/\s+/).filter((word) => Object.hasOwn(also, word)).map((word) => also[word])].join(" ");
  };
  const send = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (message, ...others) {
    const query = message?.type === 2 && typeof message.data === "string";
    send.call(this, query ? { ...message, data: asked(message.data) } : message, ...others);
  };
  mend();
  new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
  addEventListener("resize", mend);
})();
