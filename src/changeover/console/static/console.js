// What moves. Every page works without it.
"use strict";

// Moments in the reader's own zone, and with its name where there is a pointer to ask.
function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    const language = document.documentElement.lang;
    time.title = at.toLocaleString(language, { dateStyle: "full", timeStyle: "long" });
    time.textContent = at.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
    time.dataset.local = "";
  }
}
localise(document);
for (const each of document.querySelectorAll("[data-zone]")) {
  const parts = new Intl.DateTimeFormat(document.documentElement.lang, { timeZoneName: "short" }).formatToParts();
  const zone = parts.find((part) => part.type === "timeZoneName").value;
  each.textContent = `${each.dataset.zone} ${zone}`;
  each.title = Intl.DateTimeFormat().resolvedOptions().timeZone;
}
document.addEventListener("htmx:load", (event) => localise(event.detail.elt));

// A second click must not do a thing twice.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form.busy")) return;
  const button = event.submitter;
  setTimeout(() => {
    if (button) button.disabled = true;
  });
});

// Parts that are live: the server says that something changed, and the part is fetched anew. What it is exchanged for
// is another element, so it is looked for each time. A page that nobody sees does not listen: a browser has six
// connections to a server, and with as many pages in the background the next one would never come.
const SLOW_MS = 500;
function follow(address) {
  let events = null;
  let over = false;
  let heard = false;
  const leave = () => {
    events?.close();
    events = null;
  };
  const end = () => {
    over = true;
    leave();
  };
  const exchange = () => {
    const part = document.querySelector(`[data-live="${CSS.escape(address)}"]`);
    if (part) window.htmx?.trigger(part, "changed");
    else end();
  };
  const listen = () => {
    if (events || over || document.hidden) return;
    events = new EventSource(address);
    // What changed before it listened, nobody would tell: since it last did, since a page that came slowly was made, or
    // where something quick has just been begun.
    events.addEventListener("open", () => {
      const quick = document.querySelector(`[data-live="${CSS.escape(address)}"][data-quick]`);
      if (heard || quick || performance.now() > SLOW_MS) exchange();
      heard = true;
    });
    events.addEventListener("changed", exchange);
    events.addEventListener("ended", () => {
      end();
      exchange();
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : listen()));
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", (event) => event.persisted && listen());
  listen();
}
for (const part of document.querySelectorAll("[data-live]")) follow(part.dataset.live);

// A part in which something is being confirmed is left alone; what came meanwhile is fetched once that is closed.
document.addEventListener("htmx:beforeSwap", (event) => {
  const confirming = event.detail.target.querySelector("details.confirm[open]");
  if (!confirming || !event.detail.target.matches("[data-live]")) return;
  event.detail.shouldSwap = false;
  confirming.addEventListener("toggle", () => window.htmx?.trigger(event.detail.target, "changed"), { once: true });
});

// What a reader opened or closed in a part stays so when the part is exchanged.
const opened = new Map();
document.addEventListener("htmx:beforeSwap", (event) => {
  for (const each of event.detail.target.querySelectorAll("details[id]")) opened.set(each.id, each.open);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const each of document.querySelectorAll("details[id]")) if (opened.has(each.id)) each.open = opened.get(each.id);
});

// Deeds that are exchanged beside a part: what is being confirmed is left alone, and so is what is as it was.
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  const { target, fragment } = event.detail;
  const same = target.isEqualNode(fragment.firstElementChild);
  if (same || target.querySelector("details.confirm[open]")) event.detail.shouldSwap = false;
});

// What was opened to be confirmed closes with Escape, or by a click elsewhere.
function close(except) {
  for (const open of document.querySelectorAll("details.confirm[open]")) {
    if (open !== except && !open.contains(except)) open.open = false;
  }
}
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const inside = document.activeElement?.closest("details.confirm[open]");
  close(null);
  inside?.querySelector("summary").focus();
});
document.addEventListener("click", (event) => close(event.target));
document.addEventListener("toggle", (event) => {
  if (event.target.open && event.target.matches("details.confirm")) event.target.querySelector("input:not([type=hidden])")?.focus();
}, true);
