(() => {
  // The clip: a Blob, because not every browser seeks within a data: address.
  const clip = document.getElementById("clip");
  const stored = document.getElementById("media");
  if (clip && stored) {
    const bytes = Uint8Array.from(atob(stored.textContent), (c) => c.charCodeAt(0));
    stored.remove();
    clip.addEventListener("error", () => { document.getElementById("trouble").hidden = false; });
    clip.src = URL.createObjectURL(new Blob([bytes], { type: stored.dataset.mime }));
  }
  const drawn = document.getElementById("figure");
  openStage(document.body, drawn ? JSON.parse(drawn.textContent) : null);
})();
