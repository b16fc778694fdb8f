// Pages work without this: it keeps them up to date while they are looked at, and follows logs.
"use strict";

const PAUSE = 2500; // milliseconds between looks
const MOST = 3000; // lines of a log that are kept on the page

function keepFresh(main) {
  let busy = false;
  setInterval(async () => {
    const typing = main.querySelector("form:focus-within, .menu[open]");
    if (busy || document.hidden || typing) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { redirect: "manual", headers: { Accept: "text/html" } });
      if (answer.type === "opaqueredirect") location.reload(); // the visit has ended
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("main");
      const note = main.querySelector(".note");
      for (const one of main.querySelectorAll("details[open][id]")) {
        fresh.querySelector(`#${CSS.escape(one.id)}`)?.setAttribute("open", "");
      }
      if (note && !fresh.querySelector(".note")) fresh.prepend(note.cloneNode(true));
      if (fresh.innerHTML !== main.innerHTML) main.replaceChildren(...fresh.childNodes);
    } catch {
      // homeport is away for a moment: the next look finds it again
    } finally {
      busy = false;
    }
  }, PAUSE);
}

function followLog(log) {
  const tools = document.querySelector("[data-tools]");
  const filter = tools.querySelector("[data-filter]");
  const follow = tools.querySelector("[data-follow]");
  const state = tools.querySelector("[data-state]");
  tools.hidden = false;

  const fits = (line) => line.textContent.toLowerCase().includes(filter.value.toLowerCase());
  const down = () => { if (follow.checked) log.scrollTop = log.scrollHeight; };
  const say = (text, tone) => { state.textContent = text; state.className = `pill ${tone}`; };
  const part = (kind, text) => {
    const made = document.createElement("span");
    made.className = kind;
    made.textContent = text;
    return made;
  };

  filter.addEventListener("input", () => {
    for (const line of log.children) line.classList.toggle("hidden", !fits(line));
    down();
  });
  follow.addEventListener("change", down);
  log.addEventListener("wheel", () => {
    follow.checked = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  }, { passive: true });

  const source = new EventSource(log.dataset.log);
  source.onopen = () => say("live", "good");
  source.onerror = () => say("connecting", "busy"); // it tries again, from where it was
  source.onmessage = (event) => {
    for (const [clock, stream, said] of JSON.parse(event.data)) {
      const line = document.createElement("div");
      line.append(part("clock", clock), " ", part("stream", stream), " ", part("said", said));
      line.classList.toggle("hidden", !fits(line));
      log.append(line);
    }
    while (log.childElementCount > MOST) log.firstElementChild.remove();
    down();
  };
  down();
}

const main = document.querySelector("main[data-live]");
if (main) keepFresh(main);
const log = document.querySelector("[data-log]");
if (log) followLog(log);
