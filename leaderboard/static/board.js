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

function sortBy(button) {
  const header = button.closest("th");
  const table = button.closest("table");
  const body = table.tBodies[0];
  const column = header.cellIndex;
  const kind = button.dataset.sort;
  const before = header.getAttribute("aria-sort");
  const down = before ? before === "ascending" : kind === "number";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...body.rows].map((row) => [valueOf(row, column, kind), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // without a value: last
    return down ? compare(b, a) : compare(a, b);
  });
  body.append(...rows.map(([, row]) => row));
}

for (const button of document.querySelectorAll(".sort")) {
  button.addEventListener("click", () => sortBy(button));
}

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
  const source = point.kind === "reported" ? "\nreported, not measured here" : "";
  return `${point.label}\n${point.value.toFixed(3)}${spread} at ${short(point.x[axis], axis)}${source}`;
}

function draw(box, all, main, task) {
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
  const values = points.flatMap((point) => [point.value, ...(point.interval ?? [])]);
  if (task.chance !== null) values.push(task.chance);
  let [left, right] = [Math.min(...costs) / 1.25, Math.max(...costs) * 1.25];
  if (right / left < 2) [left, right] = [left / 1.3, right * 1.3];
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low) * 0.08 || 0.05;
  [low, high] = [low - room, high + room];
  const x = (v) => LEFT + (Math.log(v / left) / Math.log(right / left)) * (WIDTH - LEFT - RIGHT);
  const y = (v) => TOP + ((high - v) / (high - low)) * (HEIGHT - TOP - BOTTOM);

  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group" });
  const front = frontOf(points.filter(main), axis, task.better);
  const words = front.map((point) => `${point.label} ${point.value.toFixed(3)} at ${short(point.x[axis], axis)}`);
  svg.setAttribute("aria-label", `${task.label} against ${name}, ${points.length} models. Pareto front: ${words.join("; ")}.`);
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
  const corners = front.flatMap((point, place) => {
    const next = front[place + 1];
    return [[x(point.x[axis]), y(point.value)], [next ? x(next.x[axis]) : WIDTH - RIGHT, y(point.value)]];
  });
  svg.append(element("polyline", { class: "front", points: corners.map((corner) => corner.join(",")).join(" ") }));
  const placed = [];
  for (const point of points) placed.push([x(point.x[axis]) - 7, y(point.value) - 7, 14, 14]);
  for (const point of points) {
    const link = element("a", { href: point.url, class: "point", "aria-label": told(point, axis).replaceAll("\n", ", ") });
    const own = element("g", { class: `f-${point.family}${main(point) ? "" : " hollow"}` });
    const [cx, cy] = [x(point.x[axis]), y(point.value)];
    if (point.interval) {
      own.append(element("line", { class: "bar", x1: cx, x2: cx, y1: y(point.interval[0]), y2: y(point.interval[1]) }));
    }
    const dot = element("g", { transform: `translate(${cx} ${cy})` });
    dot.append(element("circle", { class: "hit", r: 12 }), shape(point.family));
    own.append(dot);
    link.append(own);
    if (front.includes(point)) label(link, point.label, cx, cy, placed);
    link.addEventListener("mouseenter", () => showTip(told(point, axis), dot));
    link.addEventListener("mouseleave", hideTip);
    link.addEventListener("focus", () => showTip(told(point, axis), dot));
    link.addEventListener("blur", hideTip);
    svg.append(link);
  }
  box.append(svg);
}

function label(link, text, cx, cy, placed) {
  const cut = text.length > 22 ? `${text.slice(0, 21)}…` : text;
  const width = cut.length * 5.7;
  for (const [dx, dy] of [[10, -9], [-10 - width, -9], [10, 15], [-10 - width, 15], [-width / 2, -13], [-width / 2, 21]]) {
    const box = [cx + dx, cy + dy - 10, width, 12];
    const inside = box[0] > LEFT && box[0] + width < WIDTH - 2 && box[1] > 0 && box[1] + 12 < HEIGHT - BOTTOM;
    const free = placed.every(([a, b, w, h]) => box[0] + width < a || a + w < box[0] || box[1] + 12 < b || b + h < box[1]);
    if (inside && free) {
      placed.push(box);
      link.append(element("text", { x: cx + dx, y: cy + dy, "aria-hidden": "true" }, cut));
      return;
    }
  }
}

// ---- filters of the first page

function board() {
  const { tasks, points } = JSON.parse(find("data").textContent);
  const rows = [...find("board").tBodies[0].rows];
  const byRow = new Map(points.map((point) => [point.id, point]));

  function refresh() {
    hideTip();
    const chosen = find("task").value;
    const task = tasks[Number(chosen)];
    const families = new Set([...document.querySelectorAll("[name=family]:checked")].map((box) => box.value));
    const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const size = find("size").value;
    const papers = new Set();
    if (task && !task.paper) {
      tasks.forEach((other, place) => { if (other.paper && other.name === task.name) papers.add(String(place)); });
    }
    find("beside").hidden = !papers.size;
    const beside = papers.size > 0 && find("paper").checked;
    const shown = [];
    for (const row of rows) {
      const of = row.dataset.task;
      const right = chosen === "all" || of === chosen || (beside && papers.has(of));
      const text = row.textContent.toLowerCase();
      const visible = right && families.has(row.dataset.family) && (!size || row.dataset.size === size)
        && words.every((word) => text.includes(word));
      row.hidden = !visible;
      if (visible) shown.push(byRow.get(row.id));
    }
    find("status").textContent = `${shown.length} of ${rows.length} results`;
    for (const box of document.querySelectorAll(".chart")) {
      if (task) {
        draw(box, shown, (point) => String(point.task) === chosen, task);
      } else {
        const note = document.createElement("p");
        note.className = "empty";
        note.textContent = "Choose one task: different ones are not comparable.";
        box.replaceChildren(note);
      }
    }
  }

  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("filters").addEventListener("input", refresh);
  refresh();
}

if (find("data")) board();
