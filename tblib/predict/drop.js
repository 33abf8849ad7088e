// A place to drop films on, or to choose them from. Files travel in parts, so that no limit on messages drops one.
const PART = 4 * 1024 * 1024; // bytes; Jupyter's own limit for a message is 10 MiB

let count = 0;

function nameSliders(el) { // ipywidgets shows a slider's label, but does not tie it to the handle
  const name = () => {
    const handles = el.closest(".tblib-panel")?.querySelectorAll(".noUi-handle:not([aria-label])") ?? [];
    for (const handle of handles) {
      const label = handle.closest(".jupyter-widgets")?.querySelector(".widget-label");
      if (label?.textContent) handle.ariaLabel = label.textContent;
    }
  };
  const watch = new MutationObserver(name); // sliders come one by one, before this or after, and are drawn anew
  watch.observe(document.body, { childList: true, subtree: true });
  name();
  return watch;
}

function render({ model, el }) {
  const [input, label, status] = ["input", "label", "div"].map((tag) => document.createElement(tag));
  Object.assign(input, { type: "file", multiple: true, id: `tblib-drop-${count++}` });
  Object.assign(label, { htmlFor: input.id, textContent: "Choose films, or drop them here" });
  status.setAttribute("role", "status");
  const view = Math.random().toString(36).slice(2); // a panel may be shown twice, and again after a reload
  let batches = 0;
  el.classList.add("tblib-drop");
  el.append(input, label, status);

  const say = (text) => { status.textContent = text; };
  const told = () => say(model.get("status"));
  model.on("change:status", told);
  told();

  async function send(file, tell) {
    const limit = model.get("limit");
    if (file.size > limit) {
      tell({ kind: "refused", name: file.name, size: file.size });
      return;
    }
    const parts = Math.max(1, Math.ceil(file.size / PART));
    for (let part = 0; part < parts; part++) {
      const bytes = await file.slice(part * PART, (part + 1) * PART).arrayBuffer();
      if (parts > 1) say(`Sending ${file.name}: ${Math.round((100 * part) / parts)} %`);
      tell({ kind: "part", name: file.name, last: part === parts - 1 }, [bytes]);
    }
  }

  async function take(all) {
    const batch = batches++;
    let turn = 0; // messages may overtake one another: Jupyter may hand them to several threads
    for (let place = 0; place < all.length; place++) {
      const tell = (message, buffers = []) => {
        model.send({ ...message, view, batch, turn, place, count: all.length }, undefined, buffers);
        turn++; // only of what was sent: a number that never comes would hold up the rest
      };
      try {
        await send(all[place], tell);
      } catch (error) { // a folder, or a file that was taken away
        tell({ kind: "unreadable", name: all[place].name });
      }
    }
  }

  let queue = Promise.resolve(); // one batch after another: their parts must not mix
  const add = (files) => {
    const all = [...files];
    input.value = ""; // the same file can be chosen again
    queue = queue.then(() => take(all)).catch((error) => say(`Sending failed: ${error.message}`));
  };
  input.addEventListener("change", () => add(input.files));
  const over = (event, on) => {
    event.preventDefault();
    event.stopPropagation();
    el.classList.toggle("tblib-over", on);
  };
  el.addEventListener("dragover", (event) => over(event, true));
  el.addEventListener("dragleave", (event) => over(event, false));
  el.addEventListener("drop", (event) => { over(event, false); add(event.dataTransfer.files); });
  const watch = nameSliders(el);
  return () => { watch.disconnect(); model.off("change:status", told); };
}

export default { render };
