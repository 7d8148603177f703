// Answers while they are written. Without this, the page shows what is there whenever it is looked at.
"use strict";

const answers = document.querySelectorAll("[data-play]");
let open = answers.length;

function listen(answer) {
  const text = answer.querySelector(".text");
  const thoughts = answer.querySelector(".thoughts");
  const figures = answer.querySelector(".figures");
  // Before its first word it is said how long it has taken so far.
  const began = performance.now() - 1000 * Number(figures.dataset.waited ?? Number.NaN);
  const ticking = Number.isNaN(began) ? 0 : setInterval(() => {
    figures.textContent = `${Math.round((performance.now() - began) / 1000)} s`;
  }, 1000);
  const events = new EventSource(`${answer.dataset.play}/events?after=${answer.dataset.after}`);
  events.addEventListener("more", (event) => {
    const said = JSON.parse(event.data);
    const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    if (said.text) text.append(said.text);
    if (said.reasoning) {
      thoughts.hidden = false;
      if (!text.textContent) thoughts.open = true;
      thoughts.querySelector("pre").append(said.reasoning);
    }
    if (said.figures) {
      clearInterval(ticking);
      figures.textContent = said.figures;
    }
    if (atEnd) text.scrollTop = text.scrollHeight;
  });
  events.addEventListener("ended", () => {
    events.close();
    clearInterval(ticking);
    open -= 1;
    window.htmx?.trigger(answer, "ended");
    if (open === 0) document.getElementById("stop")?.remove();
  });
  window.addEventListener("pagehide", () => events.close());
}
for (const answer of answers) listen(answer);
