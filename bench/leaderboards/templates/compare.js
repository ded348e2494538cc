"use strict";
const source = document.getElementById("data");
if (source !== null) {
  const { rows, pairs } = JSON.parse(source.textContent);
  const [first, second] = ["a", "b"].map((id) => document.getElementById(id));
  const body = document.querySelector("main tbody");
  const found = (stem, otherwise) => {
    const index = rows.findIndex((row) => row.stem === stem);
    return index < 0 ? otherwise : index;
  };
  const signed = (value) => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(4);
  const chance = (p) => (p < 0.0001 ? "< 0.0001" : p.toFixed(4));
  const cell = (line, text, kind) => {
    const made = document.createElement(kind === "words" ? "th" : "td");
    made.className = kind;
    if (kind === "words") made.scope = "row";
    made.textContent = text;
    line.append(made);
  };
  const show = () => {
    const [i, j] = [first, second].map((select) => Number(select.value));
    ["a", "b"].forEach((id, at) => { document.getElementById(`name-${id}`).textContent = rows[[i, j][at]].name; });
    const turned = i > j;
    const figures = pairs[turned ? `${j} ${i}` : `${i} ${j}`] ?? [];
    body.replaceChildren(...figures.map((own) => {
      const line = document.createElement("tr");
      const [a, b] = turned ? [own.b, own.a] : [own.a, own.b];
      cell(line, own.figure, "words");
      cell(line, a.toFixed(4), "figure");
      cell(line, b.toFixed(4), "figure");
      cell(line, `${signed(turned ? -own.difference : own.difference)} \u00b1 ${own.se.toFixed(4)}`, "figure");
      cell(line, chance(own.p_value), "figure");
      return line;
    }));
    document.getElementById("verdict").textContent = i === j
      ? "Choose two different rows."
      : figures[0].paired ? "Paired: both rows scored the same images." : "Unpaired: the rows scored other images.";
    const place = new URLSearchParams({ a: rows[i].stem, b: rows[j].stem });
    history.replaceState(null, "", `#${place}`);
  };
  const read = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const i = found(asked.get("a"), 0);
    first.value = String(i);
    second.value = String(found(asked.get("b"), i === 0 ? 1 : 0));
    show();
  };
  for (const select of [first, second]) {
    rows.forEach((row, index) => {
      select.add(new Option(`${row.place}. ${row.name} (${row.badge})`, String(index)));
    });
    select.addEventListener("change", show);
  }
  for (const hidden of document.querySelectorAll("main > [hidden]")) hidden.hidden = false;
  window.addEventListener("hashchange", read);
  read();
}
