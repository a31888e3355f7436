(() => {
  // ---- the notice: nothing works before it was agreed to, and it can be read again at any time
  let texts = {};
  let notice = [];

  async function session() {
    const answer = await fetch("/web/session");
    if (!answer.ok) throw new Error(`session ${answer.status}`);
    const told = await answer.json();
    texts = told.texts;
    notice = told.notice;
    return told.state;
  }

  function element(name, attributes, ...inside) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  }

  // A modal dialog; resolves to the value of the button pressed, "" where it was left with Escape. It stays while
  // `before` does what the button means.
  function ask(title, paragraphs, buttons, { leavable = true, extra = null, before = null } = {}) {
    return new Promise((resolve) => {
      const heading = element("h2", { id: "affect-ask" }, title);
      const row = element("div", { class: "buttons" });
      const dialog = element("dialog", { class: "affect-dialog", "aria-labelledby": "affect-ask" }, heading,
        ...paragraphs.map((p) => element("p", {}, p)), ...(extra ? [extra] : []), row);
      for (const [value, label, kind] of buttons) {
        const button = element("button", { type: "button", class: kind, value }, label);
        button.addEventListener("click", async () => {
          for (const each of row.children) each.disabled = true;
          if (before) await before(value);
          dialog.close(value);
        });
        row.append(button);
      }
      if (!leavable) {
        dialog.setAttribute("closedby", "none");
        // Browsers that do not know the attribute; theirs lets a second Escape through a cancelled one.
        dialog.addEventListener("keydown", (event) => { if (event.key === "Escape") event.preventDefault(); });
        dialog.addEventListener("cancel", (event) => event.preventDefault());
      }
      dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue); });
      document.body.append(dialog);
      dialog.showModal();
      row.firstElementChild.focus();
    });
  }

  async function enter() {
    let state = await session();
    while (state === "key") {
      const box = element("input", { type: "password", autocomplete: "current-password", "aria-label": texts.key_label });
      await ask(texts.key_title, [texts.key_ask], [["give", texts.key_give, "primary"]], { leavable: false, extra: box });
      await fetch("/web/key", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ secret: box.value }) });
      state = await session();
    }
    if (state === "consent") {
      const said = await ask(texts.title, notice, [["agree", texts.agree, "primary"], ["", texts.decline, ""]], {
        leavable: false,
        before: (value) => (value === "agree" ? fetch("/web/consent", { method: "POST" }) : null),
      });
      if (said !== "agree") {
        document.querySelector("gradio-app").replaceWith(element("p", { class: "affect-left" }, texts.declined));
        return;
      }
    }
    press("affect-arrive");
  }

  function press(id) {
    const button = document.getElementById(id);
    if (button) button.click();
  }

  // ---- what is said aloud: whole sentences, once each
  const aloud = element("div", { class: "affect-aloud", role: "status", "aria-live": "polite" });
  let told = "";

  function speak(text) {
    if (!text || text === told) return;
    aloud.textContent = text.startsWith(told) && told ? text.slice(told.length) : text;
    told = text;
  }

  // ---- the stage: the clip, its timelines and the observations of one turn
  let stage = null;
  let shown = { revision: "", step: "" };
  let wanted = null;
  let plotly = null;

  function loadPlotly() {
    plotly ||= new Promise((resolve, reject) => {
      const script = element("script", { src: "/web/static/plotly.js" });
      script.addEventListener("load", resolve);
      script.addEventListener("error", reject);
      document.head.append(script);
    });
    return plotly;
  }

  async function fill(revision, step) {
    if (revision === shown.revision && step === shown.step) return;
    const root = document.getElementById("affect-stage");
    if (!root) return;
    const isNew = revision !== shown.revision;
    shown = { revision, step };
    if (!revision) {
      if (stage) stage.close();
      stage = null;
      root.replaceChildren(element("p", { class: "empty" }, texts.empty || ""));
      return;
    }
    const answer = await fetch(`/web/stage/${encodeURIComponent(revision)}`);
    if (!answer.ok || shown.revision !== revision || shown.step !== step) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
    await settle(root, fresh, isNew);
  }

  // A clip that plays goes on playing, and timelines that did not change are not drawn again.
  async function settle(root, fresh, isNew) {
    const plot = fresh.querySelector("#timeline");
    const data = plot ? plot.dataset.figure : "";
    const same = !isNew && stage && stage.data === data && Boolean(root.querySelector("#clip")) === Boolean(fresh.querySelector("#clip"));
    if (same) {
      root.querySelector(".story.beside").replaceWith(fresh.querySelector(".story.beside"));
      return;
    }
    const clip = root.querySelector("#clip");
    const kept = !isNew && clip && fresh.querySelector("#clip") && clip.getAttribute("src") === fresh.querySelector("#clip").getAttribute("src");
    if (stage) stage.close();
    if (kept) fresh.querySelector("#clip").replaceWith(clip);
    root.replaceChildren(...fresh.childNodes);
    const trouble = root.querySelector(".trouble");
    const medium = root.querySelector("#clip, #still");
    if (medium && trouble) medium.addEventListener("error", () => { trouble.hidden = false; });
    if (plot) await loadPlotly().catch(() => {});
    stage = { ...openStage(root, plot ? JSON.parse(data) : null), data };
    root.dataset.ready = shown.revision;
  }

  let queue = Promise.resolve();
  function heed(sign) {
    speak(sign.dataset.spoken);
    if (sign.dataset.revision === undefined) return;
    wanted = { revision: sign.dataset.revision, step: sign.dataset.step };
    queue = queue.then(() => (wanted ? fill(wanted.revision, wanted.step) : null)).catch(() => {});
  }

  // A citation in the talk leads to its observation, in the stage of the turn that it belongs to.
  async function follow(link) {
    const [, revision, id] = link.getAttribute("href").match(/#cite-(.+)-([A-Z]\d+)$/) || [];
    if (!revision) return;
    if (revision !== shown.revision) await fill(revision, "whole");
    if (stage) stage.go(id);
  }

  // ---- everything that is pressed
  document.addEventListener("click", async (event) => {
    const link = event.target.closest('a.cite[href*="#cite-"]');
    if (link) {
      event.preventDefault();
      event.stopPropagation();
      await follow(link);
    } else if (event.target.closest("[data-open], #affect-new")) {
      setTimeout(closeSide, 0);
    } else if (event.target.closest("[data-notice]")) {
      await ask(texts.title, notice, [["", texts.close, "primary"]]);
    } else if (event.target.closest("[data-delete]")) {
      const said = await ask(texts.delete, [texts.delete_ask], [["", texts.cancel, ""], ["yes", texts.yes_delete, "danger"]]);
      if (said === "yes") press("affect-delete");
    } else if (event.target.closest("[data-forget]")) {
      const said = await ask(texts.delete, [texts.forget_ask], [["", texts.cancel, ""], ["yes", texts.yes_delete, "danger"]]);
      if (said === "yes") {
        await fetch("/web/forget", { method: "POST" });
        location.reload();
      }
    }
  }, true);

  // ---- what Gradio's chat leaves undone for screen readers: it reads a whole message's source as its name, reads the
  // talk anew with every piece of it, and does not say whether a fold is open
  function set(node, name, value) {
    if (node && node.getAttribute(name) !== value) node.setAttribute(name, value);
  }

  function mendChat(chat) {
    set(chat.querySelector('[role="log"]'), "aria-live", "off");
    for (const message of chat.querySelectorAll('[data-testid="bot"], [data-testid="user"]')) {
      set(message, "role", "group");
      set(message, "aria-label", message.dataset.testid === "bot" ? texts.answer_name : texts.message_name);
    }
    for (const fold of chat.querySelectorAll('.thought-group [role="button"]')) {
      set(fold, "aria-expanded", String(Boolean(fold.nextElementSibling)));
      for (const inner of fold.querySelectorAll("button")) { set(inner, "tabindex", "-1"); set(inner, "aria-hidden", "true"); }
    }
  }

  // ---- the history: times as the reader's clock has them; on a phone it covers the page, so it gives way
  function mendHistory(history) {
    for (const time of history.querySelectorAll("time")) {
      const local = new Date(time.dateTime).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
      if (time.textContent !== local) time.textContent = local;
    }
  }

  function closeSide() {
    const side = document.getElementById("affect-side");
    if (innerWidth < 769 && side && side.classList.contains("open")) side.querySelector(".toggle-button").click();
  }

  // ---- once Gradio has drawn the page
  function begin() {
    document.documentElement.lang = "en";
    document.body.append(aloud);
    const chat = document.getElementById("affect-chat");
    mendChat(chat);
    new MutationObserver(() => mendChat(chat)).observe(chat, { childList: true, subtree: true, attributes: true, attributeFilter: ["aria-label", "aria-live"] });
    const history = document.getElementById("affect-history");
    new MutationObserver(() => mendHistory(history)).observe(history, { childList: true, subtree: true, characterData: true });
    closeSide();
    matchMedia("(max-width: 768px)").addEventListener("change", closeSide);
    const sign = document.getElementById("affect-signal");
    new MutationObserver(() => { const i = sign.querySelector("i"); if (i) heed(i); }).observe(sign, { childList: true, subtree: true, attributes: true });
    new MutationObserver(() => { if (stage) stage.redraw(); }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    enter().catch((error) => { aloud.textContent = String(error); });
  }

  const drawn = new MutationObserver(() => {
    if (["signal", "arrive", "chat", "stage", "history"].some((name) => !document.getElementById(`affect-${name}`))) return;
    drawn.disconnect();
    begin();
  });
  drawn.observe(document.documentElement, { childList: true, subtree: true });
})();
