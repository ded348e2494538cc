"use strict";
const large = document.getElementById("large");
if (large !== null) {
  let buttons = [];
  let at = 0;
  const show = (number) => {
    at = (number + buttons.length) % buttons.length;
    const images = Array.from(buttons[at].querySelectorAll("img"), (image) => image.cloneNode());
    large.querySelector(".images").replaceChildren(...images);
    large.querySelector("p").textContent = buttons[at].closest("li").querySelector("p").textContent;
  };
  for (const list of document.querySelectorAll("ul.gallery")) {
    const own = Array.from(list.querySelectorAll("button.open"));
    own.forEach((button, number) => {
      button.addEventListener("click", () => {
        buttons = own;
        show(number);
        large.showModal();
      });
    });
  }
  for (const button of large.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => show(at + Number(button.dataset.step)));
  }
  large.querySelector("[data-close]").addEventListener("click", () => large.close());
  large.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step !== undefined) show(at + step);
  });
}
