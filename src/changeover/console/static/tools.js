// What moves on the pages of tools. All of them work without it.
"use strict";

// A job's progress; the page is shown anew once it has ended.
const progress = document.getElementById("progress");
if (progress) {
  const bar = progress.querySelector("progress");
  const words = progress.querySelector("[role=status]");
  const state = document.querySelector("h1 .badge");
  const events = new EventSource(progress.dataset.events);
  events.addEventListener("progress", (event) => {
    const said = JSON.parse(event.data);
    bar.value = said.share;
    words.textContent = said.words;
    if (state) state.textContent = progress.dataset.running;
  });
  events.addEventListener("ended", () => {
    events.close();
    location.reload();
  });
  window.addEventListener("pagehide", () => events.close());
}

// The files that were chosen, with their sizes.
function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let place = 0;
  let amount = bytes;
  for (; amount >= 1024 && place < units.length - 1; place += 1) amount /= 1024;
  return `${amount.toLocaleString(document.documentElement.lang, { maximumFractionDigits: place ? 1 : 0 })} ${units[place]}`;
}
document.addEventListener("change", (event) => {
  if (!event.target.matches("input[type=file]")) return;
  const list = event.target.closest(".field").querySelector(".files");
  list.replaceChildren(...[...event.target.files].map((file) => {
    const line = document.createElement("li");
    const bytes = document.createElement("small");
    bytes.textContent = size(file.size);
    line.append(file.name, " ", bytes);
    return line;
  }));
});

// A conversation: Enter sends, Shift and Enter begin a line; what was said stands there while the answer is written.
const composer = document.querySelector("form.composer");
if (composer) {
  const message = composer.querySelector("textarea");
  const said = document.querySelector(".said");
  said.scrollTop = said.scrollHeight;
  message.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    composer.requestSubmit(composer.querySelector("button"));
  });
  composer.addEventListener("submit", (event) => {
    if (!message.value.trim()) {
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    const bubble = document.createElement("div");
    bubble.className = "user";
    const text = document.createElement("p");
    text.textContent = message.value;
    bubble.append(text);
    const waiting = document.createElement("div");
    waiting.className = "assistant waiting";
    waiting.append(composer.dataset.waiting);
    said.append(bubble, waiting);
    said.scrollTop = said.scrollHeight;
    setTimeout(() => {
      message.value = "";
    });
  });
}
