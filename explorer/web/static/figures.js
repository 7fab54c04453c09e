"use strict";
// What all panes share: drawing figures, telling faults.

const PLOT = { displaylogo: false, responsive: true, showTips: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

function drawFigures(figures) {
  return Promise.all(Object.entries(figures).map(([name, figure]) => {
    const place = document.getElementById(name);
    place.style.height = `${figure.layout.height}px`;
    return Plotly.react(place, figure.data, figure.layout, PLOT);
  }));
}

async function ask(address) {
  const response = await fetch(address);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function tellFault(text) {
  const place = document.getElementById("fault");
  place.textContent = text;
  place.hidden = !text;
}
