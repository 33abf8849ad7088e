// The report's contents, search, enlarged figures and tables. Without scripts the page can still be read and printed.

const contents = document.getElementById("contents");
const links = [...contents.querySelectorAll("ol a")];
const headings = links.map((link) => document.getElementById(link.hash.slice(1)));
const up = document.querySelector(".top");
const wide = matchMedia("(min-width: 75rem)");

// --- where the reader is -------------------------------------------------------------------------

const here = contents.querySelector(".here");
const folder = contents.querySelector("details");

function follow() {
  const line = 0.2 * innerHeight;
  let current = 0;
  headings.forEach((heading, place) => { if (heading.getBoundingClientRect().top <= line) current = place; });
  up.classList.toggle("shown", scrollY > innerHeight);
  if (links[current].ariaCurrent) return;
  for (const link of links) link.removeAttribute("aria-current");
  links[current].setAttribute("aria-current", "location");
  here.textContent = links[current].textContent;
  if (wide.matches && !contents.contains(document.activeElement)) {
    contents.scrollTop += links[current].getBoundingClientRect().top - 0.4 * innerHeight;
  }
}

let waiting = false;
addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; follow(); });
}, { passive: true });
const fold = () => { folder.open = wide.matches; };
wide.addEventListener("change", fold);
contents.querySelector("ol").addEventListener("click", (event) => { if (event.target.closest("a")) fold(); });
document.body.classList.add("ready");
fold();
follow();

// --- search --------------------------------------------------------------------------------------

const box = contents.querySelector(".search");
const field = box.querySelector("input");
const told = box.querySelector("p");

function texts() { // of each section, that is up to the next heading of the contents
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const found = headings.map(() => []);
  let place = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode;
    while (place + 1 < headings.length
      && headings[place + 1].compareDocumentPosition(node) & (Node.DOCUMENT_POSITION_FOLLOWING | Node.DOCUMENT_POSITION_CONTAINED_BY)) place++;
    found[place].push(node);
  }
  return found;
}

function search() {
  const word = field.value.trim().toLowerCase();
  const marks = [];
  let sections = 0;
  texts().forEach((nodes, place) => {
    let hits = 0;
    for (const node of word ? nodes : []) {
      const text = node.data.toLowerCase();
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + word.length);
        marks.push(range);
        hits++;
      }
    }
    sections += hits > 0;
    links[place].toggleAttribute("data-hidden", Boolean(word) && hits === 0);
  });
  globalThis.CSS?.highlights?.set("found", new Highlight(...marks));
  told.textContent = word ? `${marks.length} found in ${sections} sections` : "";
}

box.hidden = false;
field.addEventListener("input", search);
field.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { field.value = ""; search(); }
  if (event.key === "Enter") contents.querySelector("ol a:not([data-hidden])")?.click();
});

// --- figures -------------------------------------------------------------------------------------

const dialog = document.getElementById("enlarged");
document.addEventListener("click", (event) => {
  const button = event.target.closest?.(".enlarge");
  if (button) {
    dialog.querySelector("div").replaceChildren(button.querySelector("img").cloneNode());
    dialog.showModal();
  } else if (event.target === dialog) dialog.close();
});

// --- tables: made sortable when they are about to be seen ----------------------------------------

let library;
async function tables() {
  if (!library) {
    const source = Uint8Array.from(atob(document.getElementById("itables").textContent), (letter) => letter.charCodeAt(0));
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    library = import(address).finally(() => URL.revokeObjectURL(address));
  }
  return (await library).ITable;
}

async function equip(table) {
  const Table = await tables();
  const frame = table.closest("figure");
  const many = table.tBodies[0].rows.length > 8;
  new Table(table, {
    paging: false, info: false, order: [], autoWidth: false,
    layout: { topStart: many ? "search" : null, topEnd: null, bottomEnd: null, bottomStart: { buttons: [{
      extend: "csvHtml5", text: "Download as CSV", title: null, bom: true, filename: `${document.body.dataset.run}-${frame.id}`,
      exportOptions: { escapeExcelFormula: true },
    }] } },
    language: { search: "Filter", zeroRecords: "No row matches" },
  });
  frame.dataset.ready = "";
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    equip(entry.target);
  }
}, { rootMargin: "600px" });
for (const table of document.querySelectorAll("table.tblib")) seen.observe(table);
