"use strict";
for (const form of document.querySelectorAll("#board form.filters")) {
  const rows = Array.from(document.querySelectorAll("#board tbody tr"));
  const choices = Array.from(form.querySelectorAll("select"));
  const show = () => {
    let shown = 0;
    for (const row of rows) {
      row.hidden = choices.some((choice) => choice.value !== "" && row.dataset[choice.dataset.filter] !== choice.value);
      shown += row.hidden ? 0 : 1;
    }
    form.querySelector("output").textContent = `${shown} of ${rows.length} rows`;
  };
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
}
