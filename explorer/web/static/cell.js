"use strict";
// The cell: one state, the page's link. Whatever is changed changes the link, and what the link says is drawn.

const state = new URLSearchParams(location.search);
const find = (id) => document.getElementById(id);
const explorer = { drawn: 0, lastMs: NaN, busy: false, answer: null };  // for tests, and for whoever measures
window.explorer = explorer;
let steps = 1, timer = null, wanted = false, courseOf = null, hand = null;

const asked = () => `?${state.toString() || "pane=cell"}`;
const step = () => Number(state.get("step") || 0);
const withoutStep = () => { const rest = new URLSearchParams(state); rest.delete("step"); return rest.toString(); };

function set(changes) {
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") state.delete(name); else state.set(name, value);
  }
  history.replaceState(null, "", asked());
  for (const link of document.querySelectorAll("[data-export]")) link.href = `${link.dataset.export}${asked()}`;
  const other = new URLSearchParams(state);
  other.set("lang", find("language").dataset.lang);
  find("language").href = `?${other}`;
  draw();
}

// While an answer is under way, only the newest wish is kept: dragging never queues.
async function draw() {
  wanted = true;
  if (explorer.busy) return;
  explorer.busy = true;
  while (wanted) {
    wanted = false;
    const begin = performance.now();
    try {
      const answer = await ask(`draw${asked()}`);
      await show(answer);
      tellFault("");
      explorer.answer = answer;
    } catch (fault) {
      pause();
      tellFault(fault.message);
    }
    explorer.lastMs = performance.now() - begin;
    explorer.drawn += 1;
  }
  explorer.busy = false;
  follow();
}

async function show(answer) {
  steps = answer.steps;
  Object.assign(find("step"), { max: steps - 1, value: step() });
  find("where").textContent = answer.where;
  for (const one of document.querySelectorAll("figure.one")) showOne(one, answer);
  showTable(answer);
  showHand(answer.hand);
  showCursor();
  await drawFigures(answer.figures);
}

function showOne(one, answer) {
  const place = one.dataset.place, words = answer.words[place];
  one.hidden = !words;
  if (!words) return;
  const who = one.querySelector(".who"), map = one.querySelector(".map"), tokens = one.querySelector(".tokens");
  who.textContent = words.label;
  who.style.background = words.colour;
  (map || tokens).setAttribute("aria-label", map ? words.map : words.tokens);
  if (map) return drawMap(map, answer.maps[place]);
  one.querySelector(".legend").replaceChildren(...words.legend.flatMap(([kind, text]) => swatch(MARKS[kind], text)));
  drawTokens(tokens, answer.tokens[place]);
}

// Upon the episode's figure, which is not drawn again while the step moves.
function showCursor() {
  const cursor = find("cursor"), plot = find("course"), layout = plot._fullLayout;
  if (!layout) return;
  cursor.hidden = false;
  cursor.style.left = `${plot.offsetLeft + layout.xaxis._offset + layout.xaxis.d2p(step())}px`;
  cursor.style.top = `${plot.offsetTop + layout._size.t}px`;
  cursor.style.height = `${layout._size.h}px`;
}

function swatch(colour, text) {
  const mark = document.createElement("i");
  mark.style.background = colour;
  return [mark, document.createTextNode(text)];
}

function showTable(answer) {
  const rows = answer.table, colours = Object.values((explorer.answer || answer).words).map((one) => one.colour);
  const head = document.createElement("thead"), body = document.createElement("tbody");
  rows.forEach(([name, values], index) => {
    const row = document.createElement("tr");
    const title = document.createElement("th");
    title.textContent = name;
    title.scope = index ? "row" : "col";
    row.append(title);
    values.forEach((value, place) => {
      const cell = document.createElement(index ? "td" : "th");
      const text = document.createElement("span");
      text.textContent = value;
      if (!index) { cell.scope = "col"; text.style.background = (answer.words ? Object.values(answer.words)[place].colour : colours[place]); }
      cell.append(text);
      row.append(cell);
    });
    (index ? body : head).append(row);
  });
  find("table").replaceChildren(head, body);
}

// The rest of the episode, and its proofs, come when nothing else is asked for.
async function follow() {
  const mine = withoutStep(), stale = () => explorer.busy || mine !== withoutStep();
  if (courseOf === mine && explorer.done) return;
  courseOf = mine;
  explorer.done = false;
  try {
    while (!stale() && !explorer.done) {
      const at = step(), answer = await ask(`course${asked()}`);
      if (stale()) return;
      await drawFigures(answer.figures);
      showCursor();
      if (explorer.answer && at === step()) showTable({ ...explorer.answer, table: answer.table });
      explorer.done = answer.done;
    }
  } catch (fault) {
    tellFault(fault.message);
  }
}

// Stepping and playing.
function go(target) {
  const to = Math.max(0, Math.min(steps - 1, target));
  if (to !== step()) set({ step: to || null });
  if (to === steps - 1) pause();
}
const moves = { first: () => go(0), previous: () => go(step() - 1), next: () => go(step() + 1), last: () => go(steps - 1) };
function play() {
  if (step() === steps - 1) go(0);
  timer = setInterval(() => { if (!explorer.busy) go(step() + 1); }, 400);
  showPlay("pause");
}
function pause() {
  clearInterval(timer);
  timer = null;
  showPlay("play");
}
function showPlay(word) {
  const button = find("play");
  button.classList.toggle("playing", word === "pause");
  button.title = button.dataset[word];
  button.setAttribute("aria-label", button.dataset[word]);
}

// Taking over.
function showHand(now) {
  const changed = !hand || hand.names.join("\n") !== now.names.join("\n");
  hand = now;
  if (changed) { buildSliders(); buildDevices(); }
  hand.names.forEach((name, device) => {
    setUnlessHeld(`price-${device}`, hand.price[device]);
    setUnlessHeld(`share-${device}`, hand.share[device]);
    find(`price-${device}-said`).textContent = (hand.price_max * hand.price[device] ** 2).toFixed(3);
    find(`share-${device}-said`).textContent = `${(100 * hand.share[device]).toFixed(1)} %`;
    setUnlessHeld(`distance-${device}`, hand.distance[device]);
    setUnlessHeld(`speed-${device}`, hand.speed[device]);
    find(`distance-${device}`).disabled = !hand.placed;
  });
  find("exact").disabled = hand.exact;
  find("back").disabled = !hand.taken;
  find("no-distance").hidden = hand.placed;
  setUnlessHeld("bandwidth", Number(hand.band.toPrecision(6)));
}

function setUnlessHeld(id, value) {
  const control = find(id);
  if (control !== document.activeElement || !control.matches(":active")) control.value = value;
}

function heading(place, ...words) {
  place.replaceChildren(...words.map((word) => Object.assign(document.createElement("b"), { textContent: word })));
}

// A row for each device: its name, and what `control` makes for each of two kinds.
function buildRows(place, kinds, control) {
  heading(place, place.dataset.device, ...kinds.map((kind) => place.dataset[kind]));
  hand.names.forEach((name, device) => {
    place.append(Object.assign(document.createElement("span"), { textContent: `${device} ${name}` }));
    for (const kind of kinds) {
      const input = Object.assign(document.createElement("input"), { id: `${kind}-${device}` });
      input.setAttribute("aria-label", `${place.dataset[kind]}, ${device} ${name}`);
      place.append(control(input, kind, device));
    }
  });
}

function buildSliders() {
  buildRows(find("sliders"), ["price", "share"], (slider, kind, device) => {
    Object.assign(slider, { type: "range", min: 0, max: 1, step: 0.005 });
    slider.addEventListener("input", () => take(kind, device, Number(slider.value)));
    const pair = Object.assign(document.createElement("span"), { className: "pair" });
    pair.append(slider, Object.assign(document.createElement("output"), { id: `${slider.id}-said` }));
    return pair;
  });
}

function buildDevices() {
  buildRows(find("devices"), ["distance", "speed"], (field, kind, device) => {
    Object.assign(field, { type: "number", min: kind === "speed" ? 0.01 : 1, step: "any" });
    field.addEventListener("change", () => changeDevice(kind, device, field.value));
    return field;
  });
}

function pieces() {
  return new Map((state.get("pieces") || "").split("|").filter(Boolean).map((text) => [Number(text.split("@")[0]), text]));
}

function hold(price, share) {
  const all = pieces(), now = step();
  const written = (values) => values.map((value) => Number(value.toFixed(4))).join(",");
  all.set(now, `${now}@${written(price)}${share ? `:${written(share)}` : ""}`);
  set({ pieces: [...all.keys()].sort((one, other) => one - other).map((key) => all.get(key)).join("|") });
}

function take(kind, device, value) {
  const price = [...hand.price], share = [...hand.share];
  if (kind === "price") {
    price[device] = value;
  } else {
    const rest = share.reduce((sum, part) => sum + part, 0) - share[device];
    const left = Math.max(1 - value, 0);
    share.forEach((part, other) => { if (other !== device) share[other] = rest > 0 ? part * left / rest : left / (share.length - 1); });
    share[device] = value;
    hand.share = share;
    hand.exact = false;
  }
  hand.price = price;
  hold(price, hand.exact ? null : hand.share);
}

// Changing the cell.
function changeDevice(kind, device, text) {
  const all = new Map((state.get(kind) || "").split(",").filter(Boolean).map((pair) => pair.split(":")));
  if (text === "") all.delete(String(device)); else all.set(String(device), text);
  set({ [kind]: [...all].map((pair) => pair.join(":")).join(",") });
}

function begin() {
  for (const control of document.querySelectorAll("[data-view]")) {
    control.addEventListener("change", () => {
      const name = control.dataset.view;
      if (name !== "scenario") return set({ [name]: control.value });
      // Another scenario has other devices, and other policies to choose from.
      const kept = new URLSearchParams([["scenario", control.value]]);
      for (const part of ["lang", "seed"]) if (state.has(part)) kept.set(part, state.get(part));
      location.search = kept;
    });
  }
  for (const button of document.querySelectorAll("[data-go]")) button.addEventListener("click", moves[button.dataset.go]);
  find("play").addEventListener("click", () => (timer ? pause() : play()));
  find("step").addEventListener("input", () => go(Number(find("step").value)));
  find("exact").addEventListener("click", () => hold(hand.price, null));
  find("back").addEventListener("click", () => set({ pieces: null }));
  find("bandwidth").addEventListener("change", () => {
    const megahertz = Number(find("bandwidth").value);
    set({ band: megahertz > 0 ? String(megahertz * 1e6) : null });
  });
  find("as-drawn").addEventListener("click", () => set({ band: null, distance: null, speed: null }));
  for (const place of document.querySelectorAll(".tokens")) tellStories(place);
  find("course").addEventListener("click", (event) => {
    const plot = find("course"), axis = plot._fullLayout && plot._fullLayout.xaxis;
    if (axis) go(Math.round(axis.p2d(event.clientX - plot.getBoundingClientRect().left - axis._offset)));
  });
  window.addEventListener("resize", () => { if (explorer.answer) show(explorer.answer); });
  find("controls").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, button, a, summary, canvas") || event.ctrlKey || event.metaKey || event.altKey) return;
    const move = { ArrowLeft: moves.previous, ArrowRight: moves.next, Home: moves.first, End: moves.last, " ": () => find("play").click() }[event.key];
    if (move) { event.preventDefault(); move(); }
  });
  set({});
}

begin();
