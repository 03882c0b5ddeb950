"use strict";
(() => {
  const data = JSON.parse(document.getElementById("browse-media").textContent);
  const WORDS = { image: "picture", audio: "sound" };

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function wave(peaks) {
    const ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg");
    const set = (element, values) => Object.entries(values).forEach(([name, value]) => element.setAttribute(name, value));
    set(svg, { class: "wave", viewBox: `0 0 ${peaks.length} 2`, preserveAspectRatio: "none", "aria-hidden": "true" });
    peaks.forEach((peak, i) => {
      const bar = document.createElementNS(ns, "rect"), half = Math.max(peak, .02);
      set(bar, { x: i + .1, y: 1 - half, width: .8, height: 2 * half });
      svg.append(bar);
    });
    return svg;
  }

  function shown(hash) {
    const one = data.media[hash], word = WORDS[one?.kind] ?? "medium";
    if (!one?.url) return make("p", { class: "told" }, `A ${word} is ${one?.told ?? "not shown"}.`);
    if (one.kind === "image") return make("img", { src: one.url, alt: `The ${word} of this row`, decoding: "async" });
    const player = make("audio", { controls: "", preload: "none", src: one.url, "aria-label": `The ${word} of this row` });
    return make("div", { class: "sound" }, wave(one.wave), player);
  }

  function beside(article) {
    const row = Number(article.getAttribute("aria-label").match(/\d+$/)[0]) - 1, hashes = data.rows[row] ?? [];
    if (!hashes.length || article.querySelector(":scope > .media")) return;
    article.querySelector(".reason").after(make("div", { class: "media" }, ...hashes.map(shown)));
    const said = data.blind[row];
    if (said === null) return;
    let pair = article.querySelector(":scope > .pair");
    if (!pair) article.append(pair = make("div", { class: "pair" }));
    const text = said.trim() ? said.trim() : make("em", {}, "no answer");
    pair.append(make("div", { class: "answer" }, make("h4", {}, "blind: tuned, without the media"),
      make("p", { class: "text", dir: "auto" }, text)));
  }

  document.querySelectorAll(".media[data-media]").forEach((place) => {
    place.append(...place.dataset.media.split(" ").map(shown));
  });
  if (data.told) document.querySelector("#browse .status").before(make("p", { class: "told" }, data.told));
  new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach((node) => {
    if (node.tagName === "ARTICLE") beside(node);
  }))).observe(document.querySelector("#browse .list"), { childList: true });
})();
