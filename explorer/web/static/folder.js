"use strict";
// What the folders hold: figures of results, of training runs, and of recordings layer by layer.

const place = document.getElementById("figures"), state = new URLSearchParams(location.search);
const explorer = { drawn: 0 };
window.explorer = explorer;

async function draw() {
  const mine = state.toString();
  try {
    const answer = await ask(`folder?${mine}`);
    if (mine !== state.toString()) return;  // the slider went on meanwhile
    for (const { id, title, said } of answer.headings) if (!document.getElementById(id)) place.append(card(id, title, said));
    await drawFigures(answer.figures);
    if (answer.rows) showRows(answer.rows, answer.where);
    if (answer.policies && answer.policies.length) showSwitches(answer.policies);
    explorer.answer = answer;
    tellFault("");
  } catch (fault) {
    tellFault(fault.message);
  }
  explorer.drawn += 1;
}

function card(id, title, said) {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  caption.textContent = title;
  if (said) caption.append(Object.assign(document.createElement("small"), { textContent: said }));
  const plot = Object.assign(document.createElement("div"), { id, className: "plot" });
  plot.setAttribute("role", "group");
  plot.setAttribute("aria-label", title);
  figure.append(caption, plot);
  return figure;
}

// Policies are switched off in all figures at once.
function showSwitches(policies) {
  const group = Object.assign(document.createElement("fieldset"), { id: "policies" });
  group.append(Object.assign(document.createElement("legend"), { textContent: place.dataset.policiesShown }));
  for (const policy of policies) {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      for (const plot of document.querySelectorAll(".plot")) {
        const own = plot.data.flatMap((trace, index) => (trace.meta && trace.meta.policy === policy ? [index] : []));
        if (own.length) Plotly.restyle(plot, { visible: box.checked }, own);
      }
    });
    label.append(box, policy);
    group.append(label);
  }
  place.prepend(group);
}

function showRows(rows, where) {
  let slider = document.getElementById("row");
  if (!slider) {
    const bar = Object.assign(document.createElement("section"), { className: "transport" });
    slider = Object.assign(document.createElement("input"), { type: "range", id: "row", min: 0, step: 1 });
    slider.setAttribute("aria-label", place.dataset.rowLabel);
    slider.addEventListener("input", () => {
      state.set("row", slider.value);
      history.replaceState(null, "", `?${state}`);
      draw();
    });
    bar.append(slider, Object.assign(document.createElement("output"), { id: "where" }));
    place.prepend(bar);
  }
  slider.max = rows - 1;
  slider.value = state.get("row") || 0;
  document.getElementById("where").textContent = where;
}

if (place.dataset.item) draw();
