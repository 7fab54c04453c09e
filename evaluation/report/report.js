"use strict";
// Unpacks Plotly, draws the figures, and lets policies be switched off in all figures and tables at once.

async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function begin() {
  const script = document.createElement("script");
  script.textContent = await unpack(document.getElementById("plotly").textContent.trim());
  document.head.append(script);
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const options = { displaylogo: false, responsive: true, showTips: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  for (const [place, figure] of Object.entries(figures)) {
    document.getElementById(place).style.height = `${figure.layout.height}px`;
    await Plotly.newPlot(place, figure.data, figure.layout, options);
  }
  for (const box of document.querySelectorAll("#policies input")) box.addEventListener("change", () => show(figures));
  await show(figures);
  document.documentElement.dataset.drawn = "yes";
}

// Also at the start: a browser may remember the boxes of a page that is loaded again.
async function show(figures) {
  const boxes = [...document.querySelectorAll("#policies input")];
  const hidden = new Set(boxes.filter((box) => !box.checked).map((box) => box.dataset.policy));
  for (const row of document.querySelectorAll("tr[data-policy]")) row.hidden = hidden.has(row.dataset.policy) || hidden.has(row.dataset.against);
  for (const [place, figure] of Object.entries(figures)) {
    const visible = figure.data.map((trace) => !(trace.meta && hidden.has(trace.meta.policy)));
    const shown = document.getElementById(place).data.map((trace) => trace.visible !== false);
    if (visible.some((one, index) => one !== shown[index])) await Plotly.restyle(place, { visible });
  }
}

if (typeof DecompressionStream === "undefined") document.getElementById("too-old").hidden = false;
else begin();
