"use strict";
(() => {
  const steps = JSON.parse(document.getElementById("steps").textContent);
  const el = (id) => document.getElementById(id);
  const svg = document.querySelector("#graph svg");
  const nodes = new Map([...svg.querySelectorAll("g.node")].map((g) => [g.id, g]));
  const edges = [...svg.querySelectorAll("g.edge")];
  // At which step each node gets its value and its gradient; what is given has its value from the start.
  const valueAt = new Map(), gradientAt = new Map();
  steps.forEach((step, i) => {
    if (step.phase === "forward") valueAt.set(step.node, i);
    if (step.phase === "backward") gradientAt.set(step.node, i);
  });
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let at = 0;

  let first = true;

  function show(i, moveFocus) {
    at = Math.max(0, Math.min(steps.length - 1, i));
    const step = steps[at];
    for (const [id, g] of nodes) {
      g.classList.toggle("waiting", (valueAt.get(id) ?? 0) > at);
      g.classList.toggle("unreached", (gradientAt.get(id) ?? Infinity) > at);
      const here = id === step.node;
      g.classList.toggle("focus", here);
      g.classList.toggle("in-forward", here && step.phase === "forward");
      g.classList.toggle("in-backward", here && step.phase === "backward");
      g.setAttribute("tabindex", here || (!step.node && g === nodes.values().next().value) ? "0" : "-1");
      if (here) g.setAttribute("aria-current", "step"); else g.removeAttribute("aria-current");
    }
    const lit = new Set(step.edges.map((pair) => pair.join(" ")));
    for (const g of edges) {
      g.classList.toggle("ahead", (valueAt.get(g.dataset.target) ?? 0) > at);
      g.classList.toggle("quiet", (gradientAt.get(g.dataset.source) ?? Infinity) > at);
      g.classList.toggle("lit", lit.has(`${g.dataset.source} ${g.dataset.target}`));
    }
    el("step-title").textContent = step.title;
    el("told").className = `phase-${step.phase}`;
    el("lines").replaceChildren(...step.lines.map(([kind, text]) => {
      const line = document.createElement("div");
      line.className = kind;
      line.textContent = text;
      return line;
    }));
    el("slider").value = at;
    el("slider").setAttribute("aria-valuetext", step.title);
    el("where").textContent = at ? `step ${at} of ${steps.length - 1}, ${step.phase}` : "start";
    el("back").disabled = at === 0;
    el("next").disabled = at === steps.length - 1;
    try { history.replaceState(null, "", `#step=${at}`); } catch { /* a page that was opened from mail has no address */ }
    const current = nodes.get(step.node);
    if (current) {
      if (moveFocus && nodes.has(document.activeElement.id)) current.focus({ preventScroll: true });
      current.scrollIntoView({ block: "nearest", inline: "nearest", behavior: first || calm.matches ? "auto" : "smooth" });
    }
    first = false;
  }

  function goTo(id) {
    const steps_ = steps[at].phase === "backward" ? [gradientAt, valueAt] : [valueAt, gradientAt];
    const i = steps_[0].get(id) ?? steps_[1].get(id);
    if (i !== undefined) show(i, true);
  }

  function find(text) {
    const wanted = text.trim().toLowerCase();
    let hits = 0;
    svg.classList.toggle("searching", wanted !== "");
    for (const g of nodes.values()) {
      const match = wanted !== "" && g.getAttribute("aria-label").toLowerCase().includes(wanted);
      g.classList.toggle("match", match);
      hits += match;
    }
    el("hits").textContent = wanted ? `${hits} found` : "";
  }

  el("back").addEventListener("click", () => show(at - 1));
  el("next").addEventListener("click", () => show(at + 1));
  el("slider").addEventListener("input", (event) => show(Number(event.target.value)));
  el("search").addEventListener("input", (event) => find(event.target.value));
  svg.addEventListener("click", (event) => {
    const g = event.target.closest("g.node");
    if (g) goTo(g.id);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target === el("search"), sliding = event.target === el("slider");
    if (event.key === "Escape" && typing) { el("search").value = ""; find(""); el("search").blur(); return; }
    if (typing) return;
    const move = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: steps.length - 1 }[event.key];
    if (move !== undefined && !sliding) { event.preventDefault(); show(move, true); }
    else if (event.key === "/") { event.preventDefault(); el("search").focus(); }
    else if ((event.key === "Enter" || event.key === " ") && nodes.has(event.target.id)) {
      event.preventDefault();
      goTo(event.target.id);
    }
  });
  addEventListener("hashchange", () => show(Number((location.hash.match(/step=(\d+)/) || [0, 0])[1])));
  show(Number((location.hash.match(/step=(\d+)/) || [0, 0])[1]));
})();
