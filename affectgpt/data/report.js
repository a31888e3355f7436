"use strict";
(() => {
  const clip = document.getElementById("clip");
  const plot = document.getElementById("timeline");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let stopAt = null;

  // ---- the clip: a Blob, because not every browser seeks within a data: address
  const stored = document.getElementById("media");
  if (clip && stored) {
    const bytes = Uint8Array.from(atob(stored.textContent), (c) => c.charCodeAt(0));
    stored.remove();
    clip.addEventListener("error", () => { document.getElementById("trouble").hidden = false; });
    clip.src = URL.createObjectURL(new Blob([bytes], { type: stored.dataset.mime }));
  }

  function seek(start, end) {
    if (!clip) return;
    clip.currentTime = start;
    stopAt = end > start ? end : null;
    mark();
    // A playback that the browser refuses leaves the clip standing at the right place, which is what was asked for.
    if (stopAt !== null && !calm.matches) clip.play().catch(() => {});
  }

  // ---- observations: a click plays the stretch, a citation leads to its observation
  for (const button of document.querySelectorAll(".seek")) {
    button.addEventListener("click", () => seek(Number(button.dataset.start), Number(button.dataset.end)));
  }
  for (const link of document.querySelectorAll(".cite")) {
    link.addEventListener("click", (event) => {
      const target = document.getElementById(link.hash.slice(1));
      if (!target) return;
      event.preventDefault();
      target.scrollIntoView({ block: "center", behavior: calm.matches ? "auto" : "smooth" });
      target.focus({ preventScroll: true });
      target.classList.remove("cited");
      void target.offsetWidth; // restarts the animation
      target.classList.add("cited");
      if (clip && target.dataset.start) { clip.currentTime = Number(target.dataset.start); mark(); }
    });
  }

  const timed = [...document.querySelectorAll(".observation[data-end]")];
  let cursorDue = 0;
  function mark() {
    const now = clip.currentTime;
    if (stopAt !== null && now >= stopAt) { clip.pause(); stopAt = null; }
    for (const item of timed) {
      item.classList.toggle("now", now >= Number(item.dataset.start) && now <= Number(item.dataset.end));
    }
    if (plot && window.Plotly && performance.now() >= cursorDue) {
      cursorDue = performance.now() + 120;
      Plotly.relayout(plot, { "shapes[0].x0": now, "shapes[0].x1": now });
    }
  }
  if (clip) {
    clip.addEventListener("timeupdate", mark);
    clip.addEventListener("seeked", () => { cursorDue = 0; mark(); });
  }

  // ---- timelines
  const drawn = document.getElementById("figure");
  if (!plot || !drawn || !window.Plotly) return;
  const figure = JSON.parse(drawn.textContent);
  const names = figure.rows[0] === "face" ? figure.data[0].y : [];
  const narrow = matchMedia("(max-width: 900px)");
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function draw() {
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue(name).trim();
    const layout = structuredClone(figure.layout);
    const data = structuredClone(figure.data);
    const grid = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line"), fixedrange: true };
    Object.keys(layout).filter((k) => /^[xy]axis/.test(k)).forEach((k) => Object.assign(layout[k], grid));
    layout.shapes.forEach((s) => { s.fillcolor = colour("--speech-shade"); });
    const cursor = { type: "line", xref: "x", yref: "paper", x0: 0, x1: 0, y0: 0, y1: 1, line: { color: colour("--accent"), width: 1.5 } };
    layout.shapes.unshift(cursor);
    if (clip) cursor.x0 = cursor.x1 = clip.currentTime;
    data.forEach((trace, i) => {
      if (trace.type === "heatmap") {
        trace.colorscale = [[0, colour("--heat-0")], [1, colour("--heat-1")]];
        if (narrow.matches) trace.y = names.map((n) => (n.startsWith("~") ? "~" : "") + n.split(" ").pop());
        trace.showscale = !narrow.matches;
        layout.yaxis.tickfont = { size: 9 };
      } else {
        trace.line = { color: colour("--voice"), width: 1.5 };
      }
    });
    Object.assign(layout, {
      margin: { l: narrow.matches ? 44 : 130, r: 12, t: 8, b: 32 }, showlegend: false, hovermode: "closest", dragmode: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("--ink"), size: 11 },
    });
    Plotly.react(plot, data, layout, { displayModeBar: false });
  }
  draw();
  plot.on("plotly_click", (event) => { if (clip) { clip.currentTime = event.points[0].x; mark(); } });
  // The place left for the timelines changes when the clip's size becomes known, not only with the window.
  new ResizeObserver(() => Plotly.Plots.resize(plot)).observe(plot);
  narrow.addEventListener("change", draw);
  dark.addEventListener("change", draw);
})();
