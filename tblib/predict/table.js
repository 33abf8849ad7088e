// Answers as a table: a click on a head sorts, a click on a name shows that film, and all of it can be saved as CSV.

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

  function head(table, columns) {
    const row = table.createTHead().insertRow();
    for (const column of columns) {
      const th = cell(row, "", "th");
      th.scope = "col";
      if (column === sorted.column) th.setAttribute("aria-sort", sorted.way > 0 ? "ascending" : "descending");
      const arrow = column !== sorted.column ? "" : sorted.way > 0 ? " ▲" : " ▼";
      th.append(button(column + arrow, () => {
        sorted = { column, way: column === sorted.column ? -sorted.way : 1 };
        draw();
        el.querySelectorAll("th button")[columns.indexOf(column)].focus();
      }));
    }
  }

  function line(body, row, place) {
    const tr = body.insertRow();
    tr.toggleAttribute("data-chosen", place === model.get("chosen"));
    for (const [column, value] of Object.entries(row)) {
      const td = cell(tr, value === null ? "–" : typeof value === "number" ? value.toFixed(4) : value);
      if (column === "file" && row.problem === "") {
        td.replaceChildren(button(value, () => { model.set("chosen", place); model.save_changes(); }));
        td.firstChild.setAttribute("aria-label", `Show ${value}`);
      }
    }
  }

  function draw() {
    const rows = model.get("rows");
    el.replaceChildren();
    if (rows.length < 2) return;
    const order = rows.map((_, place) => place);
    if (sorted.column) order.sort((a, b) => sorted.way * before(rows[a][sorted.column], rows[b][sorted.column]));
    const table = document.createElement("table");
    table.createCaption().textContent = `${rows.length} files`;
    head(table, Object.keys(rows[0]));
    const body = table.createTBody();
    for (const place of order) line(body, rows[place], place);
    const save = document.createElement("a");
    const csv = new Blob([model.get("csv")], { type: "text/csv" });
    URL.revokeObjectURL(saved);
    saved = URL.createObjectURL(csv);
    Object.assign(save, { href: saved, download: "predictions.csv", textContent: "Download as CSV" });
    const wide = document.createElement("div");
    wide.append(table);
    el.append(wide, save);
  }

  for (const name of ["rows", "chosen"]) model.on(`change:${name}`, draw);
  draw();
  return () => { for (const name of ["rows", "chosen"]) model.off(`change:${name}`, draw); };
}

export default { render };
