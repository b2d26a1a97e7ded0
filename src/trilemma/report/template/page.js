"use strict";
(() => {
  const root = document.documentElement;
  const store = {
    get() { try { return localStorage.getItem("trilemma-theme"); } catch { return null; } },
    set(value) { try { localStorage.setItem("trilemma-theme", value); } catch { /* not kept, then */ } },
  };
  const dark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const toggle = document.getElementById("theme");
  const tell = () => { toggle.textContent = dark() ? "Light colors" : "Dark colors"; };
  const kept = store.get();
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  toggle.hidden = false;
  tell();
  toggle.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    store.set(root.dataset.theme);
    tell();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);

  // Paper shows what is folded away; the tables of drawn numbers stay in the files.
  const folds = [...document.querySelectorAll("details:not(figure.figure > details)")];
  addEventListener("beforeprint", () => { for (const fold of folds) { fold.dataset.was = fold.open; fold.open = true; } });
  addEventListener("afterprint", () => { for (const fold of folds) fold.open = fold.dataset.was === "true"; });

  for (const place of document.querySelectorAll(".explore")) {
    const table = place.querySelector("table");
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const count = place.querySelector(".count");
    const controls = place.querySelector(".controls");
    const text = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    let order = "";

    const announce = () => {
      if (!count) return;
      const shown = rows.filter((row) => !row.hidden).length;
      const words = shown === rows.length ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
      count.textContent = order ? `${words}, sorted by ${order}` : words;
    };

    const sortBy = (head) => {
      const at = heads.indexOf(head);
      const numeric = head.dataset.kind === "number";
      const best = head.getAttribute("aria-sort");
      const descending = best === "ascending" || (best === null && numeric && head.dataset.first === "descending");
      const key = (row) => row.cells[at].dataset.sort ?? "";
      const sign = descending ? -1 : 1;
      rows.sort((a, b) => {
        const x = key(a), y = key(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (numeric ? Number(x) - Number(y) || 0 : x.localeCompare(y, "en", { numeric: true }));
      });
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      order = `${head.dataset.name}, ${descending ? "descending" : "ascending"}`;
      body.append(...rows);
      announce();
    };
    for (const head of heads) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sortBy(head));
    }
    if (!controls) continue;

    controls.hidden = false;
    const search = controls.querySelector("input");
    const facets = [...controls.querySelectorAll("select[data-facet]")];
    const filter = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const fits = facets.every((one) => !one.value || row.dataset[`f${one.dataset.facet}`] === one.value);
        row.hidden = !(fits && words.every((word) => text.get(row).includes(word)));
      }
      announce();
    };
    search.addEventListener("input", filter);
    for (const facet of facets) facet.addEventListener("change", filter);

    const columns = controls.querySelector("select[data-columns]");
    const choose = () => {
      heads.forEach((head, at) => {
        const group = head.dataset.group;
        const off = Boolean(columns.value && group && group !== columns.value);
        head.hidden = off;
        for (const row of rows) row.cells[at].hidden = off;
      });
    };
    if (columns) { columns.addEventListener("change", choose); choose(); }
    announce();
  }
})();
