// The editor's comforts: a live preview, autosave, images by paste and drag, keys. Everything works without them.
"use strict";

(() => {
  const form = document.querySelector("form.editor");
  if (!form) return;
  const text = form.elements.body;
  const status = document.getElementById("saved");
  status.setAttribute("role", "status");
  const page = form.closest(".wrap");

  const make = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const say = (message, isBad = false) => {
    status.textContent = message;
    status.classList.toggle("problem", isBad);
  };

  // Text

  // By the editing command where there is one, so that undo takes it back.
  const insert = (string) => {
    text.focus();
    if (!document.execCommand("insertText", false, string)) {
      text.setRangeText(string, text.selectionStart, text.selectionEnd, "end");
      text.dispatchEvent(new Event("input", { bubbles: true }));
    }
  };
  const around = (before, after = before, otherwise = "") => {
    const { selectionStart: start, selectionEnd: end, value } = text;
    const chosen = value.slice(start, end) || otherwise;
    insert(before + chosen + after);
    text.setSelectionRange(start + before.length, start + before.length + chosen.length);
  };
  const link = () => {
    const { selectionStart: start, selectionEnd: end, value } = text;
    const chosen = value.slice(start, end) || "text";
    insert(`[${chosen}](https://)`);
    const address = start + chosen.length + 3;
    text.setSelectionRange(address, address + "https://".length);
  };
  const lines = (prefix) => {
    const { value } = text;
    const start = value.lastIndexOf("\n", text.selectionStart - 1) + 1;
    const next = value.indexOf("\n", text.selectionEnd);
    text.setSelectionRange(start, next < 0 ? value.length : next);
    const chosen = value.slice(start, next < 0 ? value.length : next);
    insert(chosen.split("\n").map((line) => prefix + line).join("\n"));
  };

  const tools = [
    ["Bold", "b", () => around("**", "**", "bold")],
    ["Italic", "i", () => around("*", "*", "italic")],
    ["Link", "k", link],
    ["Heading", "", () => lines("## ")],
    ["List", "", () => lines("- ")],
    ["Quote", "", () => lines("> ")],
    ["Code", "e", () => around("`", "`", "code")],
  ];
  const isMac = /Mac|iP(hone|ad)/.test(navigator.platform);
  const bar = make("div", { className: "toolbar", role: "toolbar", ariaLabel: "Markdown" });
  for (const [name, key, act] of tools) {
    const button = make("button", { type: "button", textContent: name, onclick: act });
    if (key) {
      button.title = `${name} (${isMac ? "⌘" : "Ctrl+"}${key.toUpperCase()})`;
      button.setAttribute("aria-keyshortcuts", `${isMac ? "Meta" : "Control"}+${key.toUpperCase()}`);
    }
    bar.append(button);
  }
  const choose = make("button", { type: "button", textContent: "Image" });
  const picker = make("input", { type: "file", accept: form.elements.image.accept, multiple: true, hidden: true });
  const toggle = make("button", { type: "button", textContent: "Live preview" });
  toggle.setAttribute("aria-pressed", "false");
  choose.onclick = () => picker.click();
  bar.append(choose, toggle);
  text.parentElement.before(bar, picker);

  form.addEventListener("keydown", (event) => {
    if (!(isMac ? event.metaKey : event.ctrlKey) || event.altKey || event.shiftKey) return;
    const key = event.key.toLowerCase();
    if (key === "s") {
      event.preventDefault();
      save();
    } else if (event.target === text) {
      const tool = tools.find(([, wanted]) => wanted && wanted === key);
      if (tool) {
        event.preventDefault();
        tool[2]();
      }
    }
  });

  // Live preview: made by the server, so that it is what readers will see.

  const live = make("section", { className: "live prose", hidden: true, tabIndex: 0, ariaLabel: "Live preview" });
  text.after(live);
  let latest = 0;
  const render = async () => {
    const turn = ++latest;
    const answer = await fetch("/drafts/preview", { method: "POST", body: new URLSearchParams({ body: text.value }) });
    if (turn !== latest || !answer.ok) return;
    const made = new DOMParser().parseFromString(await answer.text(), "text/html");
    live.replaceChildren(...made.body.childNodes);
  };
  toggle.onclick = () => {
    const isOn = live.hidden;
    live.hidden = !isOn;
    toggle.setAttribute("aria-pressed", String(isOn));
    text.parentElement.classList.toggle("beside", isOn);
    page.classList.toggle("narrow", !isOn && !document.querySelector(".versus"));
    if (isOn) render().catch(() => {});
  };

  // Autosave: into the writer's own working copy, some seconds after they stop. Nobody else sees it.

  const PAUSE = 2500; // milliseconds after the last key
  const MOST = 20000; // milliseconds between two saves while somebody writes on
  let pausing, rendering, sending;
  let isDirty = false;
  let isLeaving = false;
  let began = 0;

  const fields = () => {
    const data = new FormData(form);
    for (const name of ["image", "description", "lifetime"]) data.delete(name);
    return new URLSearchParams(data);
  };
  const save = async ({ keepalive = false } = {}) => {
    clearTimeout(pausing);
    if (!isDirty || isLeaving || sending) return;
    isDirty = false;
    began = 0;
    sending = new AbortController();
    try {
      const answer = await fetch("/drafts", { method: "POST", body: fields(), keepalive, signal: sending.signal });
      if (answer.ok) {
        const { key, at, overtaken } = await answer.json();
        form.elements.draft.value = key;
        if (location.pathname === "/posts/new") history.replaceState(null, "", `/drafts/${key}`);
        if (overtaken) say("Draft kept. Somebody else changed the entry meanwhile: when you publish, you will see both.", true);
        else say(`Draft kept at ${at}`);
      } else {
        isDirty = true;
        const { problem } = await answer.json().catch(() => ({}));
        say(problem ?? (answer.status === 403 ? "Not kept: you are signed out. Sign in in another tab." : "Not kept: the site does not answer as it should."), true);
      }
    } catch {
      isDirty = true;
      if (!isLeaving) say("Not kept: the site cannot be reached. It is tried again.", true);
    } finally {
      sending = undefined;
      if (isDirty && !isLeaving) pausing = setTimeout(save, MOST);
    }
  };
  form.addEventListener("input", (event) => {
    if (event.target.type === "file") return;
    isDirty = true;
    began ||= Date.now();
    clearTimeout(pausing);
    pausing = setTimeout(save, Math.max(0, Math.min(PAUSE, began + MOST - Date.now())));
    if (!live.hidden && event.target === text) {
      clearTimeout(rendering);
      rendering = setTimeout(() => render().catch(() => {}), 300);
    }
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) save({ keepalive: true });
  });
  // What was sent as a form is not kept once more as a draft.
  document.addEventListener("submit", () => {
    isLeaving = true;
    clearTimeout(pausing);
    sending?.abort();
  });
  addEventListener("pageshow", () => { isLeaving = false; });
  addEventListener("beforeunload", (event) => {
    if (isDirty && !isLeaving) event.preventDefault();
  });

  // Images

  const REASONS = { 413: "The file is too large.", 429: "These are many images at once. Please wait a little." };
  const upload = async (file) => {
    const mark = `![Uploading ${file.name.replace(/[[\]\\()]/g, "")}…]()`;
    insert(`${mark}\n`);
    const put = (string) => {
      const place = text.value.indexOf(mark);
      if (place < 0) return -1;
      text.setRangeText(string, place, place + mark.length, "preserve");
      text.dispatchEvent(new Event("input", { bubbles: true }));
      return place;
    };
    const data = new FormData();
    data.append("image", file);
    try {
      const answer = await fetch("/uploads", { method: "POST", body: data, headers: { Accept: "application/json" } });
      const { path, problem } = await answer.json().catch(() => ({}));
      if (!path) throw new Error(problem ?? (REASONS[answer.status] ?? "The image was not taken."));
      const place = put(`![](${path})`);
      if (place >= 0) text.setSelectionRange(place + 2, place + 2);
      say("Say what the image shows, between the brackets.");
    } catch (error) {
      put("");
      say(`${file.name}: ${error.message}`, true);
    }
  };
  const take = async (files) => {
    for (const file of files) await upload(file);
  };
  const images = (transfer) => [...(transfer?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  picker.onchange = () => {
    take([...picker.files]);
    picker.value = "";
  };
  text.addEventListener("paste", (event) => {
    const files = images(event.clipboardData);
    if (files.length && !event.clipboardData.getData("text/plain")) {
      event.preventDefault();
      take(files);
    }
  });
  text.addEventListener("dragover", (event) => {
    if (event.dataTransfer?.types.includes("Files")) {
      event.preventDefault();
      text.classList.add("over");
    }
  });
  text.addEventListener("dragleave", () => text.classList.remove("over"));
  text.addEventListener("drop", (event) => {
    text.classList.remove("over");
    const files = images(event.dataTransfer);
    if (files.length) {
      event.preventDefault();
      take(files);
    }
  });
})();
