"use strict";
// The cell from above and the map of tokens, drawn without a library: they change with every step.

const LINKS = [["#b4bec7", 1], ["#7fb8d8", 2], ["#2f86bb", 3.5], ["#0b5a8f", 5.5], ["#083a63", 8]];
const NAMED = 12, VIEW = 300, INK = "#1f2933", GREY = "#55606b", FAINT = "#e1e6ea", WAITING = "#b3263c";
const MARKS = { not_chosen: "#edf0f2", dropped: "#e69f00", added: "#cc79a7", kept: "#084b83" };
const PALE = [0xb8, 0xdc, 0xeb], DARK = [0x08, 0x4b, 0x83];
const LEFT = 46, BELOW = 34;

function svg(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function drawMap(place, map) {
  const scale = VIEW / 2 / map.extent, few = map.x.length <= NAMED, radius = few ? 12 : 7;
  const x = map.x.map((value) => value * scale), y = map.y.map((value) => -value * scale);
  const parts = map.rings.flatMap((ring) => [
    svg("circle", { r: ring * scale, fill: "none", stroke: FAINT }),
    svg("text", { y: ring * scale + 4, "font-size": 10, fill: GREY, "text-anchor": "middle" }, `${ring} m`),
  ]);
  x.forEach((_, device) => {
    const [colour, full] = LINKS[map.link[device]], width = few ? full : Math.max(0.8, 0.4 * full);
    const line = { x2: x[device], y2: y[device], stroke: colour, "stroke-width": width };
    parts.push(svg("line", map.link[device] ? line : { ...line, "stroke-dasharray": "2 4" }));
  });
  parts.push(svg("path", { d: "M0-10 9 7H-9z", fill: INK, stroke: "#fff" }));
  x.forEach((_, device) => {
    const waits = device === map.waiting;
    const look = { fill: "#fff", stroke: waits ? WAITING : INK, "stroke-width": waits ? 3 : 1.2 };
    const group = svg("g", { transform: `translate(${x[device].toFixed(1)} ${y[device].toFixed(1)})`, class: "device" });
    group.append(svg("circle", { r: radius, ...look }));
    group.append(svg("text", { y: radius / 3, "font-size": few ? 12 : 8, fill: INK, "text-anchor": "middle" }, device));
    group.addEventListener("pointerenter", (event) => showTip(map.said[device], event.clientX, event.clientY));
    group.addEventListener("pointerleave", hideTip);
    parts.push(group);
  });
  place.setAttribute("viewBox", [-VIEW / 2, -VIEW / 2, VIEW, VIEW].join(" "));
  place.replaceChildren(...parts);
}

function drawTokens(place, map) {
  const experts = map.marks.length, tokens = map.marks[0].length, ratio = window.devicePixelRatio || 1;
  const width = place.parentElement.clientWidth - 20, row = Math.max(5, Math.min(16, 460 / experts)), height = row * experts + BELOW;
  place.style.height = `${height}px`;
  Object.assign(place, { width: width * ratio, height: height * ratio, map });
  const pen = place.getContext("2d"), column = (width - LEFT) / tokens, gap = column > 5 && row > 7 ? 1 : 0;
  pen.scale(ratio, ratio);
  map.marks.forEach((line, expert) => line.forEach((mark, token) => {
    pen.fillStyle = colourOf(mark);
    pen.fillRect(LEFT + token * column, expert * row, column - gap, row - gap);
  }));
  pen.fillStyle = GREY;
  pen.font = "11px system-ui, sans-serif";
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  const every = Math.ceil(experts / (height / 16));
  map.labels.forEach((label, expert) => { if (expert % every === 0) pen.fillText(label, LEFT - 5, (expert + 0.5) * row); });
  pen.textAlign = "center";
  const ticks = [1, 2, 5, 10, 20, 50, 100].find((step) => step * column > 34) || 200;
  for (let token = 0; token < tokens; token += ticks) pen.fillText(token, LEFT + (token + 0.5) * column, experts * row + 9);
  pen.fillText(map.axes[0], LEFT + (width - LEFT) / 2, height - 7);
  pen.save();
  pen.translate(8, (experts * row) / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(map.axes[1], 0, 0);
  pen.restore();
  place.size = { row, column };
  if (place.chosen && document.activeElement === place) showChosen(place);
}

function colourOf(mark) {
  if (mark < 3) return [MARKS.not_chosen, MARKS.dropped, MARKS.added][mark];
  const part = mark - 3;
  return `rgb(${PALE.map((pale, index) => Math.round(pale + part * (DARK[index] - pale))).join(" ")})`;
}

function storyOf(map, expert, token) {
  if (map.stories) return map.stories[expert][token];
  const mark = Math.min(3, Math.floor(map.marks[expert][token]));
  return `${map.axes[0]} ${token}, ${map.axes[1]} ${map.experts[expert]}\n${map.weights[expert][token]}\n${map.words[mark]}`;
}

// Stories by pointer, and by the arrow keys for those who have none.
function tellStories(place) {
  place.addEventListener("pointermove", (event) => {
    const box = place.getBoundingClientRect();
    const token = Math.floor((event.clientX - box.left - LEFT) / place.size.column), expert = Math.floor((event.clientY - box.top) / place.size.row);
    if (!place.map.marks[expert] || place.map.marks[expert][token] === undefined) return hideTip();
    showTip(storyOf(place.map, expert, token), event.clientX, event.clientY);
  });
  place.addEventListener("pointerleave", hideTip);
  place.addEventListener("blur", hideTip);
  place.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    const [expert, token] = place.chosen || [0, -1], most = [place.map.marks.length - 1, place.map.marks[0].length - 1];
    place.chosen = [expert + move[0], token + move[1]].map((value, index) => Math.max(0, Math.min(most[index], value)));
    showChosen(place);
  });
}

function showChosen(place) {
  const [expert, token] = place.chosen, box = place.getBoundingClientRect();
  showTip(storyOf(place.map, expert, token), box.left + LEFT + (token + 1) * place.size.column, box.top + (expert + 1) * place.size.row);
}

function showTip(text, x, y) {
  const tip = document.getElementById("tip");
  tip.textContent = text;
  tip.hidden = false;
  tip.style.left = `${Math.max(4, Math.min(x + 14, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 14, window.innerHeight - tip.offsetHeight - 8))}px`;
}

function hideTip() {
  document.getElementById("tip").hidden = true;
}
