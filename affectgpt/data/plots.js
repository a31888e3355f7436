const plots = JSON.parse(document.getElementById("plots").textContent);
const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(name).trim();
const grid = {gridcolor: colour("--line"), zerolinecolor: colour("--line"), automargin: true};
for (const [id, plot] of Object.entries(plots)) {
  for (const trace of plot.data) {
    if (trace.tone) {
      trace.marker = Object.assign({}, trace.marker, {color: colour(trace.tone)});
      trace.line = Object.assign({}, trace.line, {color: colour(trace.tone)});
      if (trace.error_x) trace.error_x.color = colour(trace.bars || trace.tone);
      delete trace.tone; delete trace.bars;
    }
  }
  const layout = Object.assign({paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: {color: colour("--ink"), size: 12}, margin: {l: 8, r: 12, t: 8, b: 8}}, plot.layout);
  if (plot.data[0].type === "heatmap") plot.data[0].textfont = {color: colour("--ink")};
  layout.xaxis = Object.assign({}, grid, layout.xaxis);
  layout.yaxis = Object.assign({}, grid, layout.yaxis);
  Plotly.newPlot(id, plot.data, layout, {responsive: true, displayModeBar: false});
}
