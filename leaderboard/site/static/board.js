"use strict";
// Sorts and filters the tables that are in the page, and draws the trade-off charts from its data.
// Texts of records are only ever set as text or as attributes that hold text.

const find = (id) => document.getElementById(id);

// ---- tables that sort

function valueOf(row, column, kind) {
  const text = row.cells[column].dataset.value ?? row.cells[column].textContent;
  const number = text === "" ? NaN : Number(text);
  if (kind === "text") return text.toLowerCase();
  return Number.isNaN(number) ? (kind === "auto" ? text.toLowerCase() : null) : number;
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
}

function sorted(rows, column, kind, down) {
  const valued = rows.map((row) => [valueOf(row, column, kind), row]);
  valued.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // without a value: last
    return down ? compare(b, a) : compare(a, b);
  });
  return valued.map(([, row]) => row);
}

function sortBy(button, down) {
  const header = button.closest("th");
  const table = button.closest("table");
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  if (table.classList.contains("board")) return; // its rows are sorted when they are shown
  for (const body of table.tBodies) body.append(...sorted([...body.rows], header.cellIndex, button.dataset.sort, down));
}

for (const button of document.querySelectorAll(".sort")) {
  button.addEventListener("click", () => {
    const before = button.closest("th").getAttribute("aria-sort");
    sortBy(button, before ? before === "ascending" : button.dataset.sort === "number" && button.textContent !== "Rank");
    for (const refresh of refreshers) refresh();
    remember();
  });
}

// ---- what the reader chose is in the address: a link, Back, Forward and a reload show it again

const refreshers = []; // what follows the controls
const shownRows = { count: 100 }; // of the ranked tables

const controls = () => [...document.querySelectorAll("form select, form input, .legend input, .columns input")];
const tables = () => [...document.querySelectorAll("table")];

function remember() {
  const view = new URLSearchParams();
  const toggled = new Map(); // name of boxes -> values of those that are not as they were at first
  for (const control of controls()) {
    if (control.type !== "checkbox") {
      const first = control.options ? control.options[0].value : "";
      if (control.value !== first) view.set(control.id, control.value);
    } else if (control.checked !== control.defaultChecked) {
      const name = control.name || control.id;
      toggled.set(name, [...(toggled.get(name) ?? []), control.value]);
    }
  }
  for (const [name, values] of toggled) view.set(name, values.join(" "));
  const sorts = tables().flatMap((table, place) => {
    const header = table.querySelector("[aria-sort]");
    return header ? [`${place}.${header.cellIndex}.${header.getAttribute("aria-sort") === "descending" ? "down" : "up"}`] : [];
  });
  if (sorts.length) view.set("sort", sorts.join(" "));
  if (shownRows.count !== 100) view.set("rows", shownRows.count);
  const query = view.toString();
  history.replaceState(null, "", `${location.pathname}${query ? `?${query}` : ""}${location.hash}`);
}

function restore() {
  const view = new URLSearchParams(location.search);
  for (const control of controls()) {
    if (control.type === "checkbox") {
      const toggled = (view.get(control.name || control.id) ?? "").split(" ").includes(control.value);
      control.checked = toggled ? !control.defaultChecked : control.defaultChecked;
    } else if (control.options) {
      const chosen = view.get(control.id);
      const known = [...control.options].some((option) => option.value === chosen);
      control.value = known ? chosen : control.options[0].value;
    } else {
      control.value = view.get(control.id) ?? "";
    }
  }
  for (const sort of (view.get("sort") ?? "").split(" ").filter(Boolean)) {
    const [place, column, order] = sort.split(".");
    const button = tables()[place]?.tHead?.rows[0].cells[column]?.querySelector(".sort");
    if (button) sortBy(button, order === "down");
  }
  shownRows.count = Math.max(100, Number(view.get("rows")) || 100);
  for (const refresh of refreshers) refresh();
}

addEventListener("popstate", restore);
addEventListener("pageshow", (event) => { if (event.persisted) restore(); });

// ---- print: everything that is folded or on later rows is there

const opened = [];
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details.fold:not([open])")) { fold.open = true; opened.push(fold); }
  shownRows.all = true;
  for (const refresh of refreshers) refresh();
});
addEventListener("afterprint", () => {
  for (const fold of opened.splice(0)) fold.open = false;
  shownRows.all = false;
  for (const refresh of refreshers) refresh();
});

// ---- the tip beside a point

const tip = find("tip");

function showTip(text, target) {
  tip.textContent = text;
  tip.hidden = false;
  const box = target.getBoundingClientRect();
  const own = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - 8);
  const above = box.top - own.height - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
}

const hideTip = () => { tip.hidden = true; };
addEventListener("scroll", hideTip, { passive: true });
addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

// ---- which point the pointer is at: the nearest one, whatever is drawn over it

function nearest(spots, x, y) {
  const far = (spot) => Math.hypot(spot.x - x, spot.y - y);
  const order = [...spots].sort((a, b) => far(a) - far(b));
  if (!order.length) return [];
  const inside = ({ label: box }) => box && x >= box[0] && x <= box[0] + box[2] && y >= box[1] && y <= box[1] + box[3];
  const first = far(order[0]) <= 7 ? order[0] : spots.find(inside) ?? (far(order[0]) <= 14 ? order[0] : null);
  if (!first) return [];
  return [first, ...order.filter((spot) => spot !== first && Math.hypot(spot.x - first.x, spot.y - first.y) < 1)];
}

function pointAt(svg, spots) {
  function at(event) {
    const matrix = svg.getScreenCTM();
    if (!matrix) return;
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    const visible = spots.filter((spot) => spot.target.getClientRects().length);
    const found = nearest(visible, place.x, place.y);
    for (const spot of spots) spot.element.classList.toggle("near", spot === found[0]);
    if (found.length) showTip(found.map((spot) => spot.words).join("\n\n"), found[0].target);
    else hideTip();
  }
  svg.addEventListener("pointermove", at);
  svg.addEventListener("pointerdown", at);
  svg.addEventListener("click", (event) => {
    const link = svg.querySelector("a.near");
    if (link && !event.target.closest("a")) location.href = link.getAttribute("href");
  });
  svg.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "touch") return; // the click comes after the finger has left
    hideTip();
    for (const spot of spots) spot.element.classList.remove("near");
  });
}

// ---- charts

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 280, LEFT = 60, RIGHT = 16, TOP = 14, BOTTOM = 30;

function element(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

function short(number, axis) {
  for (const [size, letter] of [[1e12, " T"], [1e9, axis === 0 ? " B" : " G"], [1e6, " M"], [1e3, " k"]]) {
    if (number >= size && number < size * 1000) return Number((number / size).toPrecision(3)) + letter;
  }
  if (number >= 1e15) return number.toExponential(2).replace("e+", "e").replace(/\.?0+e/, "e");
  return String(Number(number.toPrecision(3)));
}

function shape(family) {
  const paths = {
    grown: "M0-6.5L6 4.5H-6Z", "grown-looped": "M0 6.5L6-4.5H-6Z", retrofitted: "M0-7L7 0L0 7L-7 0Z",
    untied: "M-5-2V-5H-2L0-2L2-5H5V-2L2 0L5 2V5H2L0 2L-2 5H-5V2L-2 0Z",
  };
  if (family === "looped") return element("rect", { class: "dot", x: -5, y: -5, width: 10, height: 10 });
  if (paths[family]) return element("path", { class: "dot", d: paths[family] });
  return element("circle", { class: "dot", r: 5 });
}

function ticks(low, high, count) {
  const raw = (high - low) / count;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((part) => part * size >= raw) * size;
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(value);
  return found;
}

function logTicks(low, high) {
  for (const parts of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 8]]) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const part of parts) {
        const value = part * 10 ** power;
        if (value >= low && value <= high) found.push(value);
      }
    }
    if (found.length >= 3) return found.length > 6 ? found.filter((_, place) => place % 2 === 0) : found;
  }
  return [low, high];
}

function frontOf(points, axis, better) {
  const order = [...points].sort((a, b) => a.x[axis] - b.x[axis] || better * (b.value - a.value));
  const found = [];
  for (const point of order) {
    if (!found.length || better * (point.value - found.at(-1).value) > 0) found.push(point);
  }
  return found;
}

function told(point, axis) {
  const spread = point.interval ? ` [${point.interval.map((v) => v.toFixed(3)).join(", ")}]` : "";
  const each = point.dots.length ? `\neach: ${point.dots.map((v) => v.toFixed(3)).join(", ")}` : "";
  const over = point.interval ? `\n95 % interval over ${point.over}` : "";
  const source = point.kind === "reported" ? "\nreported, not measured here" : "";
  return `${point.label}\n${point.value.toFixed(3)}${spread} at ${short(point.x[axis], axis)}${over}${each}${source}`;
}

function bar(point, x, y) {
  const [low, high] = point.interval.map(y);
  const ends = point.dots.length ? `M${x - 4} ${low}H${x + 4}M${x - 4} ${high}H${x + 4}` : "";
  return element("path", { class: "bar", d: `M${x} ${low}V${high}${ends}` });
}

function groups(points, name) {
  const found = new Map();
  for (const point of points) found.set(point[name], [...(found.get(point[name]) ?? []), point]);
  return [...found];
}

function draw(box, all, task) {
  const axis = Number(box.dataset.axis);
  const WIDTH = Math.max(240, box.clientWidth || 360); // drawn as wide as it is shown: text keeps its size
  const name = box.closest("figure").querySelector("figcaption").textContent;
  const points = all.filter((point) => point.x[axis] > 0);
  box.replaceChildren();
  if (!points.length) {
    const empty = document.createElement("p");
    empty.className = "empty";
    empty.textContent = "No model shown has this number.";
    box.append(empty);
    return;
  }
  const costs = points.map((point) => point.x[axis]);
  const values = points.flatMap((point) => [point.value, ...(point.interval ?? []), ...point.dots]);
  if (task.chance !== null) values.push(task.chance);
  let [left, right] = [Math.min(...costs) / 1.25, Math.max(...costs) * 1.25];
  if (right / left < 2) [left, right] = [left / 1.3, right * 1.3];
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low) * 0.08 || 0.05;
  [low, high] = [low - room, high + room];
  const x = (v) => LEFT + (Math.log(v / left) / Math.log(right / left)) * (WIDTH - LEFT - RIGHT);
  const y = (v) => TOP + ((high - v) / (high - low)) * (HEIGHT - TOP - BOTTOM);

  const svg = element("svg", { width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group" });
  const fronts = groups(points, "scale").map(([scale, some]) => [scale, frontOf(some, axis, task.better)]);
  const words = fronts.map(([scale, front]) => {
    const told = front.map((point) => `${point.label} ${point.value.toFixed(3)} at ${short(point.x[axis], axis)}`);
    return `Pareto front${fronts.length > 1 ? ` of ${scale}` : ""}: ${told.join("; ")}.`;
  });
  svg.setAttribute("aria-label", `${task.label} against ${name}, ${points.length} models. ${words.join(" ")}`);
  for (const value of ticks(low, high, 5)) {
    svg.append(element("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    svg.append(element("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, String(Number(value.toFixed(4)))));
  }
  for (const value of logTicks(left, right)) {
    svg.append(element("line", { class: "grid", x1: x(value), x2: x(value), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }));
    svg.append(element("text", { x: x(value), y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, short(value, axis)));
  }
  svg.append(element("text", { class: "title", transform: `translate(14 ${(HEIGHT - BOTTOM) / 2}) rotate(-90)`, "text-anchor": "middle" }, task.unit));
  if (task.chance !== null) {
    svg.append(element("line", { class: "chance", x1: LEFT, x2: WIDTH - RIGHT, y1: y(task.chance), y2: y(task.chance) }));
  }
  for (const [, front] of fronts) {
    const last = Math.max(...front.map((point) => point.x[axis]));
    const end = fronts.length > 1 ? Math.min(WIDTH - RIGHT, x(last) + 30) : WIDTH - RIGHT;
    const corners = front.flatMap((point, place) => {
      const next = front[place + 1];
      return [[x(point.x[axis]), y(point.value)], [next ? x(next.x[axis]) : end, y(point.value)]];
    });
    svg.append(element("polyline", { class: "front", points: corners.map((corner) => corner.join(",")).join(" ") }));
  }
  for (const [, same] of groups(points, "url")) {
    if (same.length < 2) continue; // one model as it runs by itself and with a block repeated
    const order = [...same].sort((a, b) => a.x[axis] - b.x[axis]);
    const corners = order.map((point) => `${x(point.x[axis])},${y(point.value)}`).join(" ");
    svg.append(element("polyline", { class: `joined s-${same[0].colour}`, points: corners }));
  }
  const placed = points.map((point) => [x(point.x[axis]) - 7, y(point.value) - 7, 14, 14]);
  const spots = [];
  for (const point of points) {
    const link = element("a", { href: point.url, class: "point", "aria-label": told(point, axis).replaceAll("\n", ", ") });
    const own = element("g", { class: `s-${point.colour}${point.kind === "reported" ? " hollow" : ""}` });
    const [cx, cy] = [x(point.x[axis]), y(point.value)];
    if (point.interval) own.append(bar(point, cx, y));
    for (const value of point.dots) own.append(element("circle", { class: "seed", cx, cy: y(value), r: 2 }));
    const dot = element("g", { transform: `translate(${cx} ${cy})` });
    dot.append(element("circle", { class: "hit", r: 12 }), shape(point.family));
    own.append(dot);
    link.append(own);
    const spot = { x: cx, y: cy, words: told(point, axis), target: dot, element: link };
    if (fronts.some(([, front]) => front.includes(point))) spot.label = label(link, point.label, cx, cy, placed, WIDTH);
    spots.push(spot);
    link.addEventListener("focus", () => showTip(spot.words, dot));
    link.addEventListener("blur", hideTip);
    svg.append(link);
  }
  pointAt(svg, spots);
  box.append(svg);
}

function label(link, text, cx, cy, placed, WIDTH) {
  const cut = text.length > 24 ? `${text.slice(0, 13)}…${text.slice(-10)}` : text; // names may differ at their ends
  const width = cut.length * 6.4;
  for (const [dx, dy] of [[10, -9], [-10 - width, -9], [10, 15], [-10 - width, 15], [-width / 2, -13], [-width / 2, 21]]) {
    const box = [cx + dx, cy + dy - 10, width, 12];
    const inside = box[0] > LEFT && box[0] + width < WIDTH - 2 && box[1] > 0 && box[1] + 12 < HEIGHT - BOTTOM;
    const free = placed.every(([a, b, w, h]) => box[0] + width < a || a + w < box[0] || box[1] + 12 < b || b + h < box[1]);
    if (inside && free) {
      placed.push(box);
      link.append(element("text", { x: cx + dx, y: cy + dy, "aria-hidden": "true" }, cut));
      return box;
    }
  }
  return null;
}

// ---- filters of the first page

function board() {
  const data = JSON.parse(find("data").textContent);
  const tasks = new Map(Object.entries(data.tasks));
  const points = new Map(Object.entries(data.points));
  // rows leave the page, and those that are chosen come back: thousands are not laid out
  const panels = [...document.querySelectorAll(".board tbody")].map((body) => {
    const [heading, ...rows] = body.rows;
    for (const row of rows) row.remove();
    return { body, heading, rows, table: body.closest("table"), of: body.dataset.task };
  });
  const texts = new Map(); // row -> what the search looks through
  const textOf = (panel, row) => {
    if (!texts.has(row)) texts.set(row, `${panel.heading.textContent} ${row.textContent}`.toLowerCase());
    return texts.get(row);
  };
  const total = panels.reduce((sum, panel) => sum + panel.rows.length, 0);
  let drawnFor = "";

  function inOrder(panel, rows) {
    const header = panel.table.querySelector("[aria-sort]");
    if (!header) return rows;
    const kind = header.querySelector(".sort").dataset.sort;
    return sorted(rows, header.cellIndex, kind, header.getAttribute("aria-sort") === "descending");
  }

  function refresh() {
    hideTip();
    const chosen = find("task").value;
    const task = tasks.get(chosen);
    const families = new Set([...document.querySelectorAll("form [name=hide]:checked")].map((box) => box.value));
    const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const size = find("size").value;
    const theirs = new Set();
    if (task && !task.reported) {
      for (const [id, other] of tasks) if (other.reported && other.name === task.name) theirs.add(id);
    }
    find("beside").hidden = !theirs.size;
    const beside = theirs.size > 0 && find("paper").checked;
    const shown = [];
    const left = new Map(); // table -> rows that may still be shown
    const hidden = new Map(); // table -> rows that match and are not shown
    let count = 0;
    for (const panel of panels) {
      const right = chosen === "all" || panel.of === chosen || (beside && theirs.has(panel.of));
      const found = !right ? [] : panel.rows.filter((row) => families.has(row.dataset.family)
        && (!size || row.dataset.size === size) && (!words.length || words.every((word) => textOf(panel, row).includes(word))));
      if (panel.of === chosen) for (const row of found) shown.push(points.get(row.id));
      count += found.length;
      const room = shownRows.all ? Infinity : left.get(panel.table) ?? shownRows.count;
      const rows = room > 0 ? inOrder(panel, found).slice(0, room) : [];
      left.set(panel.table, room - rows.length);
      hidden.set(panel.table, (hidden.get(panel.table) ?? 0) + found.length - rows.length);
      panel.body.hidden = !rows.length;
      panel.body.replaceChildren(panel.heading, ...rows);
    }
    for (const table of document.querySelectorAll(".board")) {
      table.closest("section").hidden = [...table.tBodies].every((body) => body.hidden);
      const more = table.closest("section").querySelector(".more");
      more.hidden = !hidden.get(table);
      more.querySelector("span").textContent = `${(hidden.get(table) ?? 0).toLocaleString("en")} not shown yet`;
    }
    find("status").textContent = `${count} of ${total} results match${count ? "" : ": other filters would show more"}.`;
    const filters = [size && `size ${size}`, words.length && `search “${words.join(" ")}”`].filter(Boolean);
    const name = task ? `${task.label}${task.reported ? ": reported, not measured here" : ""}` : "all tasks";
    find("viewed").textContent = [`Task: ${name}`, ...filters].join("; ");
    find("of").textContent = task ? name : "";
    const seen = JSON.stringify([chosen, shown.map((point) => point.url + point.label), innerWidth]);
    if (seen === drawnFor) return;
    drawnFor = seen;
    for (const box of document.querySelectorAll(".chart")) {
      if (task) {
        draw(box, shown, task);
      } else {
        const note = document.createElement("p");
        note.className = "empty";
        note.textContent = "Choose one task: different ones are not comparable.";
        box.replaceChildren(note);
      }
    }
  }

  for (const button of document.querySelectorAll(".more button")) {
    button.addEventListener("click", () => { shownRows.count += 200; refresh(); remember(); });
  }
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("filters").addEventListener("input", () => { shownRows.count = 100; refresh(); remember(); });
  addEventListener("resize", refresh);
  refreshers.push(refresh);
}

// ---- columns of the matrix

function columns() {
  const boxes = [...document.querySelectorAll(".columns input")];
  if (!boxes.length) return;
  const cells = new Map(); // value of a box -> cells of its column
  for (const table of document.querySelectorAll(".matrix")) {
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      if (head.dataset.column) cells.set(head.dataset.column, [...table.rows].map((row) => row.cells[place]));
    });
  }
  const was = new Map();
  function refresh() {
    for (const box of boxes) {
      if (was.get(box) === box.checked) continue;
      was.set(box, box.checked);
      for (const cell of cells.get(box.value)) cell.hidden = !box.checked;
    }
  }
  for (const box of boxes) box.addEventListener("input", () => { refresh(); remember(); });
  refreshers.push(refresh);
}

// ---- charts of studies: each line can be taken away and brought back

function curves(figure, place) {
  const svg = figure.querySelector("svg.curves");
  const lines = [...svg.querySelectorAll(".line")];
  const legend = figure.querySelector(".legend");
  const spots = [...svg.querySelectorAll(".spot")].map((spot) => {
    const { e: x, f: y } = spot.transform.baseVal.consolidate().matrix;
    return { x, y, words: spot.dataset.words, target: spot, element: spot };
  });
  pointAt(svg, spots);
  if (lines.length < 2) return;
  const boxes = [...legend.querySelectorAll("[data-line]")].map((item) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: true, defaultChecked: true, name: "hide", value: `${place}-${item.dataset.line}` });
    label.className = "check";
    label.append(box, ...item.childNodes);
    item.append(label);
    return box;
  });
  const every = document.createElement("button");
  const said = document.createElement("span");
  const tools = document.createElement("li");
  Object.assign(every, { type: "button", className: "every" });
  said.setAttribute("role", "status");
  tools.append(every, " ", said);
  legend.append(tools);

  function refresh() {
    hideTip();
    const hidden = boxes.filter((box, number) => {
      lines[number].classList.toggle("gone", !box.checked);
      return !box.checked;
    }).length;
    every.textContent = hidden ? "show all lines" : "hide all lines";
    said.textContent = hidden ? `${hidden} of ${lines.length} lines hidden` : "";
  }

  every.addEventListener("click", () => {
    const show = boxes.some((box) => !box.checked);
    for (const box of boxes) box.checked = show;
    refresh();
    remember();
  });
  legend.addEventListener("input", () => { refresh(); remember(); });
  refreshers.push(refresh);
}

if (find("data")) board();
columns();
[...document.querySelectorAll("figure:has(.curves)")].forEach(curves);
document.documentElement.classList.add("ready");
restore();
