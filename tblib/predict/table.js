// Answers as a table: a click on a head sorts, a click on a name shows that film, and all of it can be saved as CSV.
// Below it, a step back or forward through the films, in the table's order.

function cell(row, text, tag = "td") {
  const made = document.createElement(tag);
  made.textContent = text;
  row.append(made);
  return made;
}

function button(text, does) {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", textContent: text, onclick: does });
  return made;
}

function before(a, b) { // empty cells last, numbers by size, texts by the alphabet
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
}

function render({ model, el }) {
  let sorted = { column: null, way: 1 };
  let saved = ""; // address of the CSV
  el.classList.add("tblib-table");

  function choose(place) {
    model.set("chosen", place);
    model.save_changes();
  }

  function order() {
    const rows = model.get("rows");
    const places = rows.map((_, place) => place);
    if (sorted.column) places.sort((a, b) => sorted.way * before(rows[a][sorted.column], rows[b][sorted.column]));
    return places;
  }

  function head(table, columns) {
    const row = table.createTHead().insertRow();
    for (const column of columns) {
      const th = cell(row, "", "th");
      th.scope = "col";
      if (column === sorted.column) th.setAttribute("aria-sort", sorted.way > 0 ? "ascending" : "descending");
      const arrow = column !== sorted.column ? "" : sorted.way > 0 ? " ▲" : " ▼";
      const sort = button(column + arrow, () => {
        sorted = { column, way: column === sorted.column ? -sorted.way : 1 };
        draw();
      });
      sort.dataset.key = `sort ${column}`;
      th.append(sort);
    }
  }

  function line(body, place) {
    const tr = body.insertRow();
    const told = model.get("texts")[place];
    const answered = model.get("rows")[place].problem === "";
    tr.toggleAttribute("data-chosen", place === model.get("chosen"));
    for (const [column, text] of Object.entries(told)) {
      const td = cell(tr, column === "verdict" && answered && !text ? "no verdict" : text);
      if (column === "file" && answered) {
        const show = button(text, () => choose(place));
        show.dataset.key = `show ${place}`;
        show.setAttribute("aria-label", `Show ${text}`);
        td.replaceChildren(show);
      }
    }
  }

  function steps(places) {
    const films = places.filter((place) => model.get("rows")[place].problem === "");
    const at = films.indexOf(model.get("chosen"));
    const nav = document.createElement("nav");
    nav.setAttribute("aria-label", "Films of the list");
    const step = (text, to) => {
      const made = button(text, () => choose(films[to]));
      made.dataset.key = text;
      made.disabled = films[to] === undefined;
      return made;
    };
    const where = document.createElement("span");
    where.textContent = at < 0 ? `${films.length} films` : `film ${at + 1} of ${films.length}`;
    nav.append(step("◀ Previous film", at - 1), where, step("Next film ▶", at + 1));
    return nav;
  }

  function draw() {
    const rows = model.get("rows");
    const key = el.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    const scrolled = el.firstChild?.scrollTop ?? 0;
    el.replaceChildren();
    const plain = rows.length < 2 && rows.every((row) => row.problem === ""); // all that it says is said beside it
    if (plain || model.get("texts").length !== rows.length) return;
    const table = document.createElement("table");
    table.createCaption().textContent = rows.length === 1 ? "1 file" : `${rows.length} files`;
    head(table, Object.keys(model.get("texts")[0]));
    const body = table.createTBody();
    const places = order();
    for (const place of places) line(body, place);
    const save = document.createElement("a");
    const csv = new Blob([model.get("csv")], { type: "text/csv" });
    URL.revokeObjectURL(saved);
    saved = URL.createObjectURL(csv);
    Object.assign(save, { href: saved, download: "predictions.csv", textContent: "Download as CSV" });
    const wide = document.createElement("div");
    Object.assign(wide, { tabIndex: 0 });
    wide.setAttribute("role", "region");
    wide.setAttribute("aria-label", "Table of answers");
    wide.append(table);
    el.append(wide, save, ...(rows.length > 1 ? [steps(places)] : []));
    wide.scrollTop = scrolled;
    const again = key && [...el.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
    if (again) (again.disabled ? el.querySelector("nav button:enabled") : again)?.focus();
  }

  let due = false; // values come in groups
  function soon() {
    if (!due) queueMicrotask(() => { due = false; draw(); });
    due = true;
  }
  const watched = ["rows", "texts", "chosen", "csv"];
  for (const name of watched) model.on(`change:${name}`, soon);
  draw();
  return () => { for (const name of watched) model.off(`change:${name}`, soon); };
}

export default { render };
