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

function sortBy(button, down) {
  const header = button.closest("th");
  const table = button.closest("table");
  const column = header.cellIndex;
  const kind = button.dataset.sort;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  for (const body of table.tBodies) {
    // rows are ranked below their own heading only
    const rows = [...body.rows].filter((row) => !row.classList.contains("scale"));
    const valued = rows.map((row) => [valueOf(row, column, kind), row]);
    valued.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // without a value: last
      return down ? compare(b, a) : compare(a, b);
    });
    body.append(...valued.map(([, row]) => row));
  }
}

for (const button of document.querySelectorAll(".sort")) {
  button.addEventListener("click", () => {
    const before = button.closest("th").getAttribute("aria-sort");
    sortBy(button, before ? before === "ascending" : button.dataset.sort === "number");
    remember();
  });
}

// ---- what the reader chose stays with the page: Back, Forward and a reload show it again

const refreshers = []; // what follows the controls

const controls = () => [...document.querySelectorAll("form select, form input, .legend input")];
const nameOf = (control) => (control.type === "checkbox" ? `${control.id || control.name} ${control.value}` : control.id);

function remember() {
  const chosen = controls().map((control) => [nameOf(control), control.type === "checkbox" ? control.checked : control.value]);
  const sorts = [...document.querySelectorAll("table")].map((table) => {
    const header = table.querySelector("[aria-sort]");
    return header && [header.cellIndex, header.getAttribute("aria-sort")];
  });
  history.replaceState({ chosen, sorts }, "");
}

function restore() {
  const view = history.state;
  if (view && view.chosen) {
    const chosen = new Map(view.chosen);
    for (const control of controls()) {
      const value = chosen.get(nameOf(control));
      if (value === undefined) continue;
      if (control.type === "checkbox") control.checked = value;
      else if (!control.options || [...control.options].some((option) => option.value === value)) control.value = value;
    }
    [...document.querySelectorAll("table")].forEach((table, place) => {
      const [column, order] = view.sorts[place] ?? [];
      const button = table.tHead && table.tHead.rows[0].cells[column]?.querySelector(".sort");
      if (button) sortBy(button, order === "descending");
    });
  }
  for (const refresh of refreshers) refresh();
}

addEventListener("popstate", (event) => (event.state ? restore() : remember()));
addEventListener("pageshow", restore);

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
const WIDTH = 400, HEIGHT = 280, LEFT = 42, RIGHT = 16, TOP = 14, BOTTOM = 30;

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

function byScale(points) {
  const found = new Map();
  for (const point of points) found.set(point.scale, [...(found.get(point.scale) ?? []), point]);
  return [...found];
}

function draw(box, all, task) {
  const axis = Number(box.dataset.axis);
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

  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group" });
  const fronts = byScale(points).map(([scale, some]) => [scale, frontOf(some, axis, task.better)]);
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
  const placed = points.map((point) => [x(point.x[axis]) - 7, y(point.value) - 7, 14, 14]);
  const spots = [];
  for (const point of points) {
    const link = element("a", { href: point.url, class: "point", "aria-label": told(point, axis).replaceAll("\n", ", ") });
    const own = element("g", { class: `f-${point.family}${point.kind === "reported" ? " hollow" : ""}` });
    const [cx, cy] = [x(point.x[axis]), y(point.value)];
    if (point.interval) own.append(bar(point, cx, y));
    for (const value of point.dots) own.append(element("circle", { class: "seed", cx, cy: y(value), r: 2 }));
    const dot = element("g", { transform: `translate(${cx} ${cy})` });
    dot.append(element("circle", { class: "hit", r: 12 }), shape(point.family));
    own.append(dot);
    link.append(own);
    const spot = { x: cx, y: cy, words: told(point, axis), target: dot, element: link };
    if (fronts.some(([, front]) => front.includes(point))) spot.label = label(link, point.label, cx, cy, placed);
    spots.push(spot);
    link.addEventListener("focus", () => showTip(spot.words, dot));
    link.addEventListener("blur", hideTip);
    svg.append(link);
  }
  pointAt(svg, spots);
  box.append(svg);
}

function label(link, text, cx, cy, placed) {
  const cut = text.length > 24 ? `${text.slice(0, 13)}…${text.slice(-10)}` : text; // names may differ at their ends
  const width = cut.length * 5.7;
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
  const bodies = [...document.querySelectorAll(".board tbody")];

  function refresh() {
    hideTip();
    const chosen = find("task").value;
    const task = tasks.get(chosen);
    const families = new Set([...document.querySelectorAll("[name=family]:checked")].map((box) => box.value));
    const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const size = find("size").value;
    const theirs = new Set();
    if (task && !task.reported) {
      for (const [id, other] of tasks) if (other.reported && other.name === task.name) theirs.add(id);
    }
    find("beside").hidden = !theirs.size;
    const beside = theirs.size > 0 && find("paper").checked;
    const shown = [];
    let [count, all] = [0, 0];
    for (const body of bodies) {
      const of = body.dataset.task;
      const right = chosen === "all" || of === chosen || (beside && theirs.has(of));
      const heading = body.rows[0].textContent.toLowerCase();
      let visible = 0;
      for (const row of body.querySelectorAll(".row")) {
        const text = heading + row.textContent.toLowerCase();
        row.hidden = !(right && families.has(row.dataset.family) && (!size || row.dataset.size === size)
          && words.every((word) => text.includes(word)));
        all += 1;
        if (row.hidden) continue;
        visible += 1;
        if (of === chosen) shown.push(points.get(row.id));
      }
      body.hidden = !visible;
      count += visible;
    }
    for (const table of document.querySelectorAll(".board")) {
      table.closest("section").hidden = [...table.tBodies].every((body) => body.hidden);
    }
    find("status").textContent = `${count} of ${all} results are shown${count ? "" : ": other filters would show more"}.`;
    find("of").textContent = task ? `${task.label}${task.reported ? ": reported, not measured here" : ""}` : "";
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

  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("filters").addEventListener("input", () => { refresh(); remember(); });
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
  const boxes = [...legend.children].map((item, number) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: true, name: "line", value: `${place}-${number}` });
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
[...document.querySelectorAll("figure:has(.curves)")].forEach(curves);
restore();
