// A place to drop films on, or to choose them from. Files travel in parts, so that no limit on messages drops one.
const PART = 4 * 1024 * 1024; // bytes; Jupyter's own limit for a message is 10 MiB

let count = 0;

function nameSliders(el) { // ipywidgets shows a slider's label, but does not tie it to the handle
  const watch = new MutationObserver(() => {
    const handles = [...(el.closest(".tblib-panel")?.querySelectorAll(".noUi-handle") ?? [])];
    for (const handle of handles) {
      handle.ariaLabel = handle.closest(".jupyter-widgets").querySelector(".widget-label").textContent;
    }
    if (handles.length) watch.disconnect();
  });
  watch.observe(document.body, { childList: true, subtree: true });
  return watch;
}

function render({ model, el }) {
  const [input, label, status] = ["input", "label", "div"].map((tag) => document.createElement(tag));
  Object.assign(input, { type: "file", multiple: true, id: `tblib-drop-${count++}` });
  Object.assign(label, { htmlFor: input.id, textContent: "Choose films, or drop them here" });
  status.setAttribute("role", "status");
  el.classList.add("tblib-drop");
  el.append(input, label, status);

  const say = (text) => { status.textContent = text; };
  const told = () => say(model.get("status"));
  model.on("change:status", told);
  told();

  async function send(file, batch) {
    const limit = model.get("limit");
    if (file.size > limit) {
      model.send({ ...batch, kind: "refused", name: file.name, size: file.size });
      return;
    }
    const parts = Math.max(1, Math.ceil(file.size / PART));
    for (let part = 0; part < parts; part++) {
      const bytes = await file.slice(part * PART, (part + 1) * PART).arrayBuffer();
      say(`Sending ${file.name}: ${Math.round((100 * part) / parts)} %`);
      model.send({ ...batch, kind: "part", name: file.name, last: part === parts - 1 }, undefined, [bytes]);
    }
  }

  async function take(all) {
    for (let place = 0; place < all.length; place++) {
      try {
        await send(all[place], { place, of: all.length });
      } catch (error) { // a folder, or a file that was taken away
        model.send({ place, of: all.length, kind: "unreadable", name: all[place].name });
      }
    }
  }

  let queue = Promise.resolve(); // one batch after another: their parts must not mix
  const add = (files) => {
    const all = [...files];
    input.value = ""; // the same file can be chosen again
    queue = queue.then(() => take(all));
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
