"use strict";
const source = document.getElementById("data");
if (source !== null) {
  const { rows, pairs, images } = JSON.parse(source.textContent);
  const [first, second] = ["a", "b"].map((id) => document.getElementById(id));
  const body = document.querySelector("main tbody");
  const part = document.getElementById("images");
  const plot = part.querySelector("svg");
  const most = part.querySelector("tbody");
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
  const drawn = (kind, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    plot.append(made);
  };
  const points = (i, j) => {
    const found = [];
    for (const [set, own] of Object.entries(images[i].sets)) {
      const other = images[j].sets[set];
      if (other === undefined || other.ids.length !== own.ids.length) return [];
      own.ids.forEach((id, at) => {
        if (other.ids[at] === id) found.push({ set, id, a: own.shares[at] / 1000, b: other.shares[at] / 1000 });
      });
    }
    return found;
  };
  const picture = (line, row, key) => {
    const uri = images[row].pictures[key];
    if (uri === undefined) return;
    const made = document.createElement("img");
    made.src = uri;
    made.alt = `attacked image ${key} of ${rows[row].name}`;
    line.append(" ", made);
  };
  const oneByOne = (i, j, paired) => {
    const found = paired ? points(i, j) : [];
    part.hidden = found.length === 0;
    plot.replaceChildren();
    most.replaceChildren();
    drawn("path", { d: "M10 10V310H310M10 310L310 10", class: "axes" });
    for (const one of found) drawn("circle", { cx: 10 + 300 * one.a, cy: 310 - 300 * one.b, r: 3 });
    const only = (held, lost) => found.filter((one) => one[held] >= 0.95 && one[lost] < 0.95).length;
    document.getElementById("differ").textContent = `Of ${found.length} attacked images, ${only("a", "b")} score below `
      + `95 % of the ID images with ${rows[i].name} alone, ${only("b", "a")} with ${rows[j].name} alone.`;
    found.sort((one, other) => Math.abs(other.a - other.b) - Math.abs(one.a - one.b));
    for (const one of found.slice(0, 10)) {
      const line = document.createElement("tr");
      const key = `${one.set} ${one.id}`;
      cell(line, key, "words");
      cell(line, one.a.toFixed(3), "figure");
      picture(line.lastChild, i, key);
      cell(line, one.b.toFixed(3), "figure");
      picture(line.lastChild, j, key);
      cell(line, signed(one.a - one.b), "figure");
      most.append(line);
    }
  };
  const show = () => {
    const [i, j] = [first, second].map((select) => Number(select.value));
    ["a", "b"].forEach((id, at) => { document.getElementById(`name-${id}`).textContent = rows[[i, j][at]].name; });
    for (const [name, at] of [["a", i], ["b", j]]) part.querySelector(`.name-${name}`).textContent = rows[at].name;
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
    oneByOne(i, j, i !== j && figures[0].paired);
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
  for (const hidden of document.querySelectorAll("main > form, main > .scroll")) hidden.hidden = false;
  window.addEventListener("hashchange", read);
  read();
}
