// Says while the kernel computes, and that it is gone; asks for the rest of an answer once the answer is on the page.
const SHORT = 400; // ms: what takes less needs no sign
const LONG = 5000; // ms without a connection, which Jupyter tries to set up again meanwhile
const ENDED = ["autorestarting", "restarting", "terminating", "dead"]; // a new kernel knows nothing of this panel

const made = (tag, properties) => Object.assign(document.createElement(tag), properties);

function render({ model, el }) {
  const kernel = model.widget_manager?.kernel; // in JupyterLab and in Voila
  const busy = made("p", { className: "busy" });
  const lost = made("div", { className: "lost tell", hidden: true });
  const sentence = made("p", {});
  const page = document.body.dataset.voila !== undefined;
  const reload = made("button", { type: "button", textContent: "Reload the page", onclick: () => location.reload() });
  busy.setAttribute("role", "status");
  lost.setAttribute("role", "alert");
  lost.append(sentence, reload);
  el.classList.add("tblib-connection");
  el.append(busy, lost);

  let ended = kernel?.isDisposed || ENDED.includes(kernel?.status);
  let off = false;
  const timers = {};
  function later(name, wait, does) { // each starts anew
    clearTimeout(timers[name]);
    timers[name] = setTimeout(does, wait);
  }

  function tell() {
    const again = page ? "reload the page to start anew" : "run the notebook again";
    const what = ended ? `The process that computes the answers has ended: ${again}. Films are not kept.`
      : off ? "The connection to the server is lost. It is being tried again; if the server was stopped, start it and "
        + `${again}.` : "";
    if (sentence.textContent !== what) sentence.textContent = what;
    lost.hidden = !what;
    el.closest(".tblib-panel")?.toggleAttribute("data-lost", Boolean(what));
    if (what) show(false);
  }

  function show(working) {
    busy.textContent = working ? "Computing …" : "";
    el.closest(".tblib-panel")?.setAttribute("aria-busy", String(working));
  }

  function onStatus(_, status) {
    if (ENDED.includes(status)) ended = true;
    if (ended) tell();
    if (status !== "busy" || ended) {
      clearTimeout(timers.busy);
      show(false);
    } else later("busy", SHORT, () => show(true));
  }

  function onConnection(_, status) {
    clearTimeout(timers.off);
    if (status === "connected") off = false;
    else later("off", LONG, () => { off = true; tell(); });
    tell();
  }

  function onDisposed() { ended = true; tell(); }

  const watched = [["statusChanged", onStatus], ["connectionStatusChanged", onConnection], ["disposed", onDisposed]];
  for (const [signal, slot] of watched) kernel?.[signal]?.connect(slot);

  const ask = () => { // after the page is drawn
    const shown = model.get("shown");
    if (shown > 0) later("ask", 50, () => model.send({ kind: "rest", shown }));
  };
  model.on("change:shown", ask);
  ask();
  tell();
  return () => {
    for (const [signal, slot] of watched) kernel?.[signal]?.disconnect(slot);
    Object.values(timers).forEach(clearTimeout);
    model.off("change:shown", ask);
  };
}

export default { render };
