// What moves. Every page works without it.
"use strict";

const progress = document.getElementById("progress");
if (progress) {
  const bar = progress.querySelector("progress");
  const words = progress.querySelector("[role=status]");
  const state = document.querySelector("h1 .state");
  const events = new EventSource(progress.dataset.events);
  events.addEventListener("progress", (event) => {
    const said = JSON.parse(event.data);
    bar.value = said.share;
    words.textContent = said.words;
    state.textContent = "running";
    state.className = "state running";
  });
  events.addEventListener("ended", () => {
    events.close();
    location.reload();
  });
}

// A second click must not run a tool twice.
for (const form of document.querySelectorAll("form.busy")) {
  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    setTimeout(() => {
      if (button) {
        button.disabled = true;
        if (!button.name) button.textContent = "Running …";
      }
    });
  });
}

for (const time of document.querySelectorAll("time")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.valueOf())) time.textContent = at.toLocaleString();
}
