"use strict";
for (const form of document.querySelectorAll("form.settings")) {
  const choice = form.querySelector("select");
  form.addEventListener("change", () => {
    for (const part of document.querySelectorAll("[data-settings]")) {
      part.hidden = choice.value !== "" && !part.dataset.settings.split("|").includes(choice.value);
    }
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
}
