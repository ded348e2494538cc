"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const figures = head.dataset.kind === "figure";
    head.querySelector("button").addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      // Figures begin with the largest, words with A.
      const rising = before ? before === "descending" : !figures;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const body = table.tBodies[0];
      const rows = Array.from(body.rows).map((row) => {
        const cell = row.cells[column];
        const shown = cell.dataset.order ?? cell.textContent;
        return { row, value: figures ? (shown === "" ? null : Number(shown)) : shown };
      });
      rows.sort((a, b) => {
        if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
        const order = figures ? (a.value > b.value) - (a.value < b.value) : a.value.localeCompare(b.value, "en");
        return rising ? order : -order;
      });
      body.append(...rows.map((entry) => entry.row));
    });
  });
}
